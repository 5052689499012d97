//! Check that the code that may use a dependency of `Cargo.toml` names it.

use std::collections::BTreeSet;
use std::fs;

use toml::Table;

use super::source::{code_only, paths};
use super::{root, sources};

/// Dependencies that no source names, and why they are needed.
const UNNAMED: [(&str, &str); 3] = [
    ("libsqlite3-sys", "its feature `bundled` compiles SQLite into diesel's driver"),
    ("pbjson", "the JSON mapping that build.rs generates names it"),
    ("tonic-prost", "the gRPC service that build.rs generates names it"),
];

/// The kinds of dependency, and the folders and files whose code may name them.
const KINDS: [(&str, &[&str]); 3] = [
    ("dependencies", &["src"]),
    ("dev-dependencies", &["src", "tests", "benches"]),
    ("build-dependencies", &["build.rs", "build"]),
];

/// Returns the crates that a source names: the roots of its paths, and crates imported as a whole.
fn crates_of(source: &str) -> BTreeSet<String> {
    let paths = paths(&code_only(source));
    let imported = paths.windows(2).filter(|pair| pair[0] == ["use"]).map(|pair| &pair[1]);
    let roots = paths.iter().filter(|path| path.len() > 1).chain(imported);
    roots.map(|path| path[0].clone()).collect()
}

/// Returns the dependencies that no source names, each as `kind: name`.
/// `crates_in` returns the crates that the code in some folders names.
fn unnamed(manifest: &Table, crates_in: impl Fn(&[&str]) -> BTreeSet<String>) -> Vec<String> {
    let platforms = manifest.get("target").and_then(|targets| targets.as_table());
    let platforms = platforms.into_iter().flat_map(|targets| targets.values()).filter_map(|t| t.as_table());
    let scopes: Vec<&Table> = std::iter::once(manifest).chain(platforms).collect();
    let mut found = Vec::new();
    for (kind, folders) in KINDS {
        let named = crates_in(folders);
        let tables = scopes.iter().filter_map(|scope| scope.get(kind)).filter_map(|table| table.as_table());
        let missing =
            tables.flat_map(|table| table.keys()).filter(|name| !named.contains(&name.replace('-', "_")));
        found.extend(missing.map(|name| format!("{kind}: {name}")));
    }
    found
}

fn manifest(text: &str) -> Table {
    text.parse().expect("a manifest in TOML")
}

#[test]
fn every_dependency_is_named_in_code() {
    let manifest = manifest(&fs::read_to_string(root().join("Cargo.toml")).expect("a manifest"));
    let found =
        unnamed(&manifest, |folders| sources(folders).values().flat_map(|code| crates_of(code)).collect());
    // Fails for an exception that is no longer needed, too.
    assert_eq!(found, UNNAMED.map(|(name, _)| format!("dependencies: {name}")));
}

#[test]
fn planted_unused_dependencies_are_found() {
    let manifest = manifest(
        "[dependencies]\nused-one = '1'\nunused = '1'\nin_tests = '1'\n\
         [dev-dependencies]\nin_tests = '1'\nidle = '1'\n\
         [build-dependencies]\nused-one = '1'\n\
         [target.'cfg(unix)'.dependencies]\nunix-only = '1'\nplatform = { version = '1' }\n",
    );
    let source = "use used_one::Thing; // unused::x\nconst TEXT: &str = \"unused::y\"; fn f(unused: u8) { platform::g(unused.unix_only) }";
    let crates_in = |folders: &[&str]| match folders {
        ["src"] => crates_of(source),
        ["build.rs", ..] => crates_of("use other as used_one;"),
        _ => crates_of("use in_tests as t; use {idle_other::x};"),
    };
    assert_eq!(
        unnamed(&manifest, crates_in),
        [
            "dependencies: in_tests",
            "dependencies: unused",
            "dependencies: unix-only",
            "dev-dependencies: idle",
            "build-dependencies: used-one",
        ]
    );
}
