//! The configuration file: TOML, at most 1 MiB. Unknown keys are errors.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};
use super::keys::{Key, nearest};
use super::setting::Setting;

/// Size limit in bytes, so that a file without an end, such as `/dev/zero`, is
/// refused.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the settings of a file, by key path. Errors inside the file go to
/// `faults`; `Err` means that the file could not be read.
pub(super) fn read(
    path: &Path,
    keys: &[Key],
    faults: &mut Vec<Fault>,
) -> Result<Vec<(String, Setting)>, String> {
    let text = text(path)?;
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        // Only the message: the full error quotes the line, which may contain a secret.
        let line = error.span().map_or(1, |span| line_of(&text, span.start));
        faults.push(Fault::new(Origin::File(path.into(), line).to_string(), error.message()));
    }
    let mut reading = Reading { path, text: &text, keys, faults, settings: Vec::new() };
    reading.table(None, table.into_inner());
    Ok(reading.settings)
}

fn text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("must be a configuration file of at most {MAX_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    keys: &'a [Key],
    faults: &'a mut Vec<Fault>,
    settings: Vec<(String, Setting)>,
}

impl Reading<'_> {
    fn table(&mut self, section: Option<&str>, table: DeTable<'_>) {
        for (name, value) in table {
            let origin = Origin::File(self.path.into(), line_of(self.text, name.span().start));
            let name = name.get_ref().as_ref();
            let path = section.map_or_else(|| name.to_owned(), |section| format!("{section}.{name}"));
            if self.keys.iter().any(|key| key.path() == path) {
                self.leaf(path, value, origin);
            } else if section.is_none() && self.keys.iter().any(|key| key.section == Some(name)) {
                match value.into_inner() {
                    DeValue::Table(table) => self.table(Some(name), table),
                    _ => self.faults.push(Fault::new(path, "must be a table of keys").from(origin)),
                }
            } else {
                let hint = self.nearest(&path);
                self.faults.push(Fault::new(path, format!("unknown key{hint}")).from(origin));
            }
        }
    }

    fn leaf(&mut self, path: String, value: Spanned<DeValue<'_>>, origin: Origin) {
        match toml::Value::deserialize(value.into_deserializer()) {
            Ok(value) => self.settings.push((path, Setting { value, origin })),
            Err(error) => self.faults.push(Fault::new(path, error.message()).from(origin)),
        }
    }

    fn nearest(&self, path: &str) -> String {
        let paths: Vec<String> = self.keys.iter().map(Key::path).collect();
        let sections = self.keys.iter().filter_map(|key| key.section);
        nearest(path, paths.iter().map(String::as_str).chain(sections))
    }
}

/// Returns the line number of a byte offset, counted from 1.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}
