//! What keys there are. Names, environment variables, defaults and
//! documentation are read off the sections' own declarations.

use confique::Config as _;
use confique::meta::{Expr, Field, FieldKind, LeafKind};

use super::Config;

/// The flags of the server's commands, and the keys that they set.
pub const FLAGS: [(&str, &str); 9] = [
    ("--store", "store.url"),
    ("--migrate", "store.migrate"),
    ("--cache", "cache.url"),
    ("--events", "events.url"),
    ("--inbox", "consumer.store"),
    ("--grpc-addr", "server.grpc_addr"),
    ("--http-addr", "server.http_addr"),
    ("--admin-addr", "server.admin_addr"),
    ("--data-dir", "data_dir"),
];

/// The variables that the client commands read: known, but no keys.
pub(super) const CLIENT_VARIABLES: [&str; 5] =
    ["PVZ_SERVER", "PVZ_ACTOR", "PVZ_TIMEOUT", "PVZ_OUTPUT", "PVZ_NO_COLOR"];

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "PVZ_CONFIG";

/// One key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The table it stands in; `None`: at the top.
    pub section: Option<&'static str>,
    /// Its name in that table.
    pub name: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// What it means, line by line.
    pub doc: &'static [&'static str],
    pub(super) default: Option<Expr>,
}

impl Key {
    /// Section and name: `server.grpc_addr`.
    pub fn path(&self) -> String {
        self.section.map_or_else(|| self.name.to_owned(), |section| format!("{section}.{}", self.name))
    }

    /// The flag that sets it, if there is one.
    pub fn flag(&self) -> Option<&'static str> {
        let path = self.path();
        FLAGS.iter().find(|(_, key)| *key == path).map(|(flag, _)| *flag)
    }
}

/// Every key, in the order of the template.
pub fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    collect(None, Config::META.fields, &mut keys);
    keys
}

/// The sections with their documentation, in the order of the template.
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

/// The name nearest to a wrong one, to end a sentence with; nothing if none is
/// near.
pub(super) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let leaf = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    // A key in the wrong section is as good a guess as a slip of the finger.
    let score = |name: &str| {
        // The prefix that all variables have makes none of them nearer.
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
