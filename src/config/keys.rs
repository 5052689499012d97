//! The list of keys, read from the declarations of the sections: name,
//! environment variable, default, documentation.

use confique::Config as _;
use confique::meta::{Expr, Field, FieldKind, LeafKind};

use super::Config;

/// The configuration flags of `serve`, `consume`, `migrate`, `verify` and
/// `config`, with the keys that they set.
pub const FLAGS: [(&str, &str); 10] = [
    ("--store", "store.url"),
    ("--migrate", "store.migrate"),
    ("--allow-empty-store", "store.allow_empty"),
    ("--cache", "cache.url"),
    ("--events", "events.url"),
    ("--inbox", "consumer.store"),
    ("--grpc-addr", "server.grpc_addr"),
    ("--http-addr", "server.http_addr"),
    ("--admin-addr", "server.admin_addr"),
    ("--data-dir", "data_dir"),
];

/// Environment variables of the client commands. They are not configuration
/// keys.
pub(super) const CLIENT_VARIABLES: [&str; 5] =
    ["PVZ_SERVER", "PVZ_ACTOR", "PVZ_TIMEOUT", "PVZ_OUTPUT", "PVZ_NO_COLOR"];

/// The environment variable with the path of the configuration file.
pub(super) const FILE_VARIABLE: &str = "PVZ_CONFIG";

/// A configuration key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its table; `None` for a top-level key.
    pub section: Option<&'static str>,
    /// Its name in that table.
    pub name: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// Its documentation, line by line.
    pub doc: &'static [&'static str],
    pub(super) default: Option<Expr>,
}

impl Key {
    /// Returns section and name: `server.grpc_addr`.
    pub fn path(&self) -> String {
        self.section.map_or_else(|| self.name.to_owned(), |section| format!("{section}.{}", self.name))
    }

    /// Returns the flag that sets it, if there is one.
    pub fn flag(&self) -> Option<&'static str> {
        let path = self.path();
        FLAGS.iter().find(|(_, key)| *key == path).map(|(flag, _)| *flag)
    }
}

/// Returns all keys, in the order of the template.
pub fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    collect(None, Config::META.fields, &mut keys);
    keys
}

/// Returns the sections with their documentation, in the order of the template.
pub(super) fn sections() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    Config::META.fields.iter().filter_map(|field| match field.kind {
        FieldKind::Nested { meta } => Some((field.name, meta.doc)),
        FieldKind::Leaf { .. } => None,
    })
}

fn collect(section: Option<&'static str>, fields: &'static [Field], keys: &mut Vec<Key>) {
    for field in fields {
        match field.kind {
            FieldKind::Nested { meta } => collect(Some(field.name), meta.fields, keys),
            FieldKind::Leaf { env, kind } => keys.push(Key {
                section,
                name: field.name,
                variable: env.unwrap_or_default(),
                doc: field.doc,
                default: match kind {
                    LeafKind::Required { default } => default,
                    LeafKind::Optional => None,
                },
            }),
        }
    }
}

/// Returns "; did you mean NAME?" for the most similar name, or an empty string
/// if no name is similar.
pub(super) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let leaf = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    // A key in the wrong section is as likely as a typing error.
    let score = |name: &str| {
        // All variables share this prefix, so it does not count.
        let bare = |text: &str| text.trim_start_matches("PVZ_").to_owned();
        let (wrong, name) = (&bare(wrong), &bare(name));
        let whole = strsim::normalized_damerau_levenshtein(wrong, name);
        whole.max(0.8 * strsim::normalized_damerau_levenshtein(&leaf(wrong), &leaf(name)))
    };
    names
        .into_iter()
        .map(|name| (score(name), name))
        .filter(|(score, _)| *score >= 0.55)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"))
}
