//! Unpacks Swagger UI from the archive of its crate: only the files that its page loads.

use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Read as _};
use std::path::Path;

use crate::contract::Result;

/// The names of the files, and their media types. `swagger-initializer.js` is not
/// here: `src/adapters/http` has its own.
const FILES: [(&str, &str); 7] = [
    ("index.html", "text/html; charset=utf-8"),
    ("index.css", "text/css; charset=utf-8"),
    ("swagger-ui.css", "text/css; charset=utf-8"),
    ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ("swagger-ui-standalone-preset.js", "text/javascript; charset=utf-8"),
    ("favicon-16x16.png", "image/png"),
    ("favicon-32x32.png", "image/png"),
];

/// Writes the files to `swagger-ui` in the output folder, and returns the Rust text of
/// a table of them: name, media type, content.
pub fn unpack(out: &Path) -> Result<String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED))?;
    let folder = out.join("swagger-ui");
    fs::create_dir_all(&folder)?;
    let mut table = format!("const FILES: [(&str, &str, &[u8]); {}] = [\n", FILES.len());
    for (name, media_type) in FILES {
        let ending = format!("/dist/{name}");
        let index = (0..archive.len())
            .find(|index| matches!(archive.name_for_index(*index), Some(Ok(path)) if is_in_dist(&path, &ending)))
            .ok_or_else(|| format!("Swagger UI has no file {name}"))?;
        let mut content = Vec::new();
        archive.by_index(index)?.read_to_end(&mut content)?;
        fs::write(folder.join(name), content)?;
        let path = format!("concat!(env!(\"OUT_DIR\"), \"/swagger-ui/{name}\")");
        writeln!(table, "    ({name:?}, {media_type:?}, include_bytes!({path})),")?;
    }
    table.push_str("];\n");
    Ok(table)
}

/// Returns true for `swagger-ui-<version>/dist/<name>`, false for the copies in `flavors`.
fn is_in_dist(path: &str, ending: &str) -> bool {
    path.strip_suffix(ending).is_some_and(|version| !version.contains('/'))
}
