//! What a reader should never have to look for: the tree is as its design
//! says. Function length and the bans of calls are clippy's.

mod circles;
mod dependencies;
mod layers;
mod references;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use self::source::{code_of, paths};

/// No file is longer, comments and tests included.
const LONGEST_FILE: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust source below some folders of the project, by its path in it.
fn sources(folders: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in folders {
        gather(&root().join(folder), &mut found);
    }
    assert!(!found.is_empty(), "no source below {folders:?}");
    found
}

fn gather(at: &Path, found: &mut BTreeMap<String, String>) {
    if at.is_dir() {
        for entry in fs::read_dir(at).expect("a readable folder") {
            gather(&entry.expect("a readable folder").path(), found);
        }
    } else if at.extension().is_some_and(|extension| extension == "rs") {
        let name = at.strip_prefix(root()).expect("below the root").to_str().expect("a name in UTF-8");
        found.insert(name.to_owned(), fs::read_to_string(at).expect("a readable file"));
    }
}

fn everything() -> BTreeMap<String, String> {
    sources(
        &["src", "tests", "build.rs", "build", "benches"]
            .map(|folder| if root().join(folder).exists() { folder } else { "src" }),
    )
}

/// The names of the packages that the project depends on, as code names them.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("a manifest in TOML");
    let tables =
        ["dependencies", "dev-dependencies"].map(|table| manifest[table].as_table().expect("a table"));
    tables.iter().flat_map(|table| table.keys()).map(|name| name.replace('-', "_")).collect()
}

#[test]
fn layers_name_only_whom_they_may() {
    let crates = dependencies();
    let found: Vec<String> = sources(&["src"])
        .iter()
        .flat_map(|(file, source)| layers::violations(file.trim_start_matches("src/"), source, &crates))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn modules_of_a_folder_do_not_name_each_other_in_a_circle() {
    let sources = sources(&["src"]);
    let below_src = |(file, source): (String, String)| (file.trim_start_matches("src/").to_owned(), source);
    let found = circles::circles(&sources.into_iter().map(below_src).collect());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = everything()
        .iter()
        .map(|(file, source)| (file, source.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(file, lines)| format!("{file} has {lines} lines"))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

/// What is written nowhere, texts and comments apart: exceptions to lints are
/// `#[expect]`ed with a reason, and nothing is left to be done.
const BANNED: [&str; 6] = ["#[allow", "#![allow", "todo!", "unimplemented!", "dbg!", "#[ignore"];

fn banned(code: &str) -> Vec<&'static str> {
    let squeezed: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    BANNED.into_iter().filter(|banned| squeezed.contains(banned)).collect()
}

#[test]
fn nothing_is_allowed_ignored_or_left_to_be_done() {
    for (file, source) in everything() {
        assert_eq!(banned(&code_of(&source)), [""; 0], "{file}");
    }
    assert_eq!(banned("# [allow(dead_code)] fn f() { todo ! () }"), ["#[allow", "todo!"], "planted");
}

#[test]
fn every_expected_lint_has_a_reason() {
    for (file, source) in everything() {
        let code = code_of(&source);
        for after in code.split("#[expect(").skip(1) {
            let attribute = after.split(")]").next().unwrap_or_default();
            assert!(attribute.contains("reason ="), "{file}: #[expect({attribute})]");
        }
    }
}

/// The names of the ports: traits of `src/ports`, but for those that the
/// application itself implements for its stores.
fn ports() -> BTreeSet<String> {
    let of = |folder, keyword: &str| -> BTreeSet<String> {
        let sources = sources(&[folder]);
        let words = sources.values().flat_map(|source| paths(&code_of(source))).collect::<Vec<_>>();
        let named = words.windows(2).filter(|pair| pair[0] == [keyword]);
        named.map(|pair| pair[1].join("::")).collect()
    };
    let implemented_by_app = of("src/app", "impl");
    of("src/ports", "trait").difference(&implemented_by_app).cloned().collect()
}

#[test]
fn every_adapter_of_a_port_stands_in_the_contract_suite() {
    let ports = ports();
    assert!(ports.contains("OrderStore") && !ports.contains("Decide"), "{ports:?}");
    let suites: BTreeSet<String> =
        sources(&["tests/it/contract"]).values().flat_map(|suite| paths(&code_of(suite))).flatten().collect();
    let mut adapters = 0;
    for (file, source) in sources(&["src/adapters"]) {
        let words = paths(&code_of(&source));
        for implementation in words.windows(4).filter(|words| words[0] == ["impl"] && words[2] == ["for"]) {
            let (port, adapter) = (implementation[1].join("::"), implementation[3].join("::"));
            if ports.contains(&port) {
                adapters += 1;
                assert!(
                    suites.contains(&adapter),
                    "{file}: {adapter} is an adapter of {port} without a suite"
                );
            }
        }
    }
    assert!(adapters >= 6, "adapters are found at all");
}

#[test]
fn the_binary_is_a_page() {
    let main = fs::read_to_string(root().join("src/main.rs")).expect("a main");
    assert!(main.lines().count() < 60);
}
