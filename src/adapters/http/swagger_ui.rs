//! Swagger UI: the files that `build.rs` unpacks from its crate, and their start script.

include!(concat!(env!("OUT_DIR"), "/swagger_ui.rs"));

/// The script that starts the page with the settings of this service.
const INITIALIZER: (&str, &str, &[u8]) =
    ("swagger-initializer.js", "text/javascript; charset=utf-8", include_bytes!("swagger-initializer.js"));

/// Returns the media type and the content of a file; an empty name is the page itself.
pub(super) fn file(name: &str) -> Option<(&'static str, &'static [u8])> {
    let name = if name.is_empty() { "index.html" } else { name };
    let found = FILES.iter().chain([&INITIALIZER]).find(|(known, ..)| *known == name);
    found.map(|(_, media_type, content)| (*media_type, *content))
}
