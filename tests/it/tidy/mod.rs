//! Checks of the source tree: layers, module cycles, file length, lint exceptions, contract suites,
//! dependencies and references. Clippy checks function length and banned calls.

mod cycles;
mod dependencies;
mod layers;
mod references;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use self::source::{code_only, paths};

/// The maximum number of lines of a file, comments and tests included.
const MAX_FILE_LINES: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the Rust sources below some folders of the project, by their path from its root.
fn sources(folders: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    assert!(!found.is_empty(), "no source below {folders:?}");
    found
}

fn collect(at: &Path, found: &mut BTreeMap<String, String>) {
    if at.is_dir() {
        for entry in fs::read_dir(at).expect("a readable folder") {
            collect(&entry.expect("a readable folder").path(), found);
        }
    } else if at.extension().is_some_and(|extension| extension == "rs") {
        let name = at.strip_prefix(root()).expect("below the root").to_str().expect("a name in UTF-8");
        found.insert(name.to_owned(), fs::read_to_string(at).expect("a readable file"));
    }
}

fn all_sources() -> BTreeMap<String, String> {
    sources(
        &["src", "tests", "build.rs", "build", "benches"]
            .map(|folder| if root().join(folder).exists() { folder } else { "src" }),
    )
}

/// Returns the crates that the project depends on, by the names that code uses.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("a manifest in TOML");
    let tables =
        ["dependencies", "dev-dependencies"].map(|table| manifest[table].as_table().expect("a table"));
    tables.iter().flat_map(|table| table.keys()).map(|name| name.replace('-', "_")).collect()
}

#[test]
fn layers_name_only_allowed_modules_and_crates() {
    let crates = dependencies();
    let found: Vec<String> = sources(&["src"])
        .iter()
        .flat_map(|(file, source)| layers::violations(file.trim_start_matches("src/"), source, &crates))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn sibling_modules_have_no_cycles() {
    let sources = sources(&["src"]);
    let below_src = |(file, source): (String, String)| (file.trim_start_matches("src/").to_owned(), source);
    let found = cycles::cycles(&sources.into_iter().map(below_src).collect());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_file_exceeds_the_line_limit() {
    let long: Vec<String> = all_sources()
        .iter()
        .map(|(file, source)| (file, source.lines().count()))
        .filter(|(_, lines)| *lines > MAX_FILE_LINES)
        .map(|(file, lines)| format!("{file} has {lines} lines"))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

/// Banned in code, but not in strings and comments. Exceptions to lints use `#[expect]` with a
/// reason; unfinished code and ignored tests are not committed.
const BANNED: [&str; 6] = ["#[allow", "#![allow", "todo!", "unimplemented!", "dbg!", "#[ignore"];

fn banned(code: &str) -> Vec<&'static str> {
    let squeezed: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    BANNED.into_iter().filter(|banned| squeezed.contains(banned)).collect()
}

#[test]
fn no_source_allows_lints_ignores_tests_or_is_unfinished() {
    for (file, source) in all_sources() {
        assert_eq!(banned(&code_only(&source)), [""; 0], "{file}");
    }
    assert_eq!(banned("# [allow(dead_code)] fn f() { todo ! () }"), ["#[allow", "todo!"], "planted");
}

#[test]
fn the_program_prints_without_panicking() {
    let prints = |code: &str| {
        let squeezed: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        ["print!", "println!"].into_iter().any(|print| squeezed.contains(print))
    };
    for (file, source) in sources(&["src"]) {
        assert!(
            !prints(&code_only(&source)),
            "{file}: print! and its relatives panic on a full disk; use cli::stderr or cli::output"
        );
    }
    assert!(prints("anstream :: eprintln !(\"x\")") && !prints("writeln!(out)"), "planted");
}

#[test]
fn every_expected_lint_has_a_reason() {
    for (file, source) in all_sources() {
        let code = code_only(&source);
        for after in code.split("#[expect(").skip(1) {
            let attribute = after.split(")]").next().unwrap_or_default();
            assert!(attribute.contains("reason ="), "{file}: #[expect({attribute})]");
        }
    }
}

/// Returns the names of the ports: the traits of `src/ports`, except those that the application
/// implements for its stores.
fn ports() -> BTreeSet<String> {
    let of = |folder, keyword: &str| -> BTreeSet<String> {
        let sources = sources(&[folder]);
        let words = sources.values().flat_map(|source| paths(&code_only(source))).collect::<Vec<_>>();
        let named = words.windows(2).filter(|pair| pair[0] == [keyword]);
        named.map(|pair| pair[1].join("::")).collect()
    };
    let implemented_by_app = of("src/app", "impl");
    of("src/ports", "trait").difference(&implemented_by_app).cloned().collect()
}

#[test]
fn every_adapter_of_a_port_is_in_a_contract_suite() {
    let ports = ports();
    assert!(ports.contains("OrderStore") && !ports.contains("Decide"), "{ports:?}");
    let suites: BTreeSet<String> = sources(&["tests/it/contract"])
        .values()
        .flat_map(|suite| paths(&code_only(suite)))
        .flatten()
        .collect();
    let mut adapters = 0;
    for (file, source) in sources(&["src/adapters"]) {
        let words = paths(&code_only(&source));
        for implementation in words.windows(4).filter(|words| words[0] == ["impl"] && words[2] == ["for"]) {
            let (port, adapter) = (implementation[1].join("::"), implementation[3].join("::"));
            if ports.contains(&port) {
                adapters += 1;
                assert!(
                    suites.contains(&adapter),
                    "{file}: {adapter} implements {port} and is in no contract suite"
                );
            }
        }
    }
    assert!(adapters >= 6, "the search finds adapters");
}

#[test]
fn main_has_fewer_than_60_lines() {
    let main = fs::read_to_string(root().join("src/main.rs")).expect("a main");
    assert!(main.lines().count() < 60);
}
