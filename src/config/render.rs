//! The configuration as TOML: the template and the effective values.

use std::fmt::Write as _;

use super::fault::redacted;
use super::keys::{self, Key};
use super::layers::default_of;
use super::secret::{HIDDEN, is_secret};
use super::setting::Setting;
use crate::domain::is_deceptive;

const TEMPLATE_HEAD: &str = "\
# The configuration of pvz: every key with its default. Remove the `#` before a
# key to change it. Precedence: defaults < this file (--config, PVZ_CONFIG) <
# environment < flags. Durations are written as 30s, 48h, 7d. Relative paths
# start at the working directory.
";

/// Returns every key with its documentation and default. Keys are commented
/// out, so that a file made from the template follows changed defaults.
pub fn template() -> String {
    let mut out = TEMPLATE_HEAD.to_owned();
    document(&mut out, |out, key| {
        out.push('\n');
        comment(out, key.doc);
        let flag = key.flag().map_or_else(String::new, |flag| format!(", flag {flag}"));
        _ = writeln!(out, "# Environment: {}{flag}.", key.variable);
        let value = default_of(key).map_or_else(String::new, |value| assigned(&value));
        for line in format!("{} ={value}", key.name).lines() {
            _ = writeln!(out, "#{line}");
        }
    });
    out
}

/// Returns the effective configuration with the origin of each value, secrets
/// hidden.
pub(super) fn effective<'a>(setting: impl Fn(&str) -> Option<&'a Setting>) -> String {
    let mut out = "# The effective configuration.\n".to_owned();
    document(&mut out, |out, key| {
        _ = match setting(&key.path()) {
            Some(Setting { origin, .. }) if is_secret(key.name) => {
                writeln!(out, "{} = \"{HIDDEN}\" # {origin}", key.name)
            }
            Some(Setting { value, origin }) => {
                writeln!(out, "{} ={} # {origin}", key.name, assigned(&redacted(value)))
            }
            None => writeln!(out, "#{} = # not set", key.name),
        };
    });
    out
}

fn document(out: &mut String, mut write: impl FnMut(&mut String, &Key)) {
    let keys = keys::keys();
    keys.iter().filter(|key| key.section.is_none()).for_each(|key| write(out, key));
    for (section, doc) in keys::sections() {
        out.push('\n');
        comment(out, doc);
        _ = writeln!(out, "[{section}]");
        keys.iter().filter(|key| key.section == Some(section)).for_each(|key| write(out, key));
    }
}

fn comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        _ = writeln!(out, "#{line}");
    }
}

/// Formats a value after its `=`. A list of tables takes one line per row.
fn assigned(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) if text.contains(is_deceptive) => format!(" {}", escaped_string(text)),
        toml::Value::Array(rows) if rows.iter().any(toml::Value::is_table) => {
            let rows: Vec<String> = rows.iter().map(|row| format!("  {row},\n")).collect();
            format!(" [\n{}]", rows.concat())
        }
        other => format!(" {other}"),
    }
}

/// Formats a string with the escapes of TOML for the characters that a reader does not see as they
/// are.
fn escaped_string(text: &str) -> String {
    let mut escaped = "\"".to_owned();
    for character in text.chars() {
        _ = match character {
            '"' | '\\' => write!(escaped, "\\{character}"),
            _ if is_deceptive(character) => write!(escaped, "\\U{:08X}", u32::from(character)),
            _ => write!(escaped, "{character}"),
        };
    }
    escaped + "\""
}
