//! Check that the documents, files, headings and test numbers named in documents, comments and strings
//! exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::source::code_only;

/// Documents that are not part of the project, without their extension.
const BANNED: [&str; 8] = ["DOMAIN", "API", "RELIABILITY", "DESIGN", "POSTGRES", "FACTS", "STYLE", "DESK"];
/// First folders of the paths in backticks that are checked. A path is relative to the root, to `src`,
/// or to the folder of the file.
const FOLDERS: [&str; 18] = [
    "adapters",
    "app",
    "bench",
    "benches",
    "build",
    "cli",
    "compose",
    "config",
    "docs",
    "domain",
    "migrations",
    "ports",
    "proto",
    "rows",
    "src",
    "telemetry",
    "tests",
    "tidy",
];
const TEXT_EXTENSIONS: [&str; 7] = ["md", "rs", "proto", "sql", "toml", "sh", "py"];
/// The document with the table of numbered tests.
const NUMBERED_TESTS: &str = "docs/reliability.md";
/// Documents with tables of test modules, and the number of rightmost columns that name modules.
const MODULE_TABLES: [(&str, usize); 2] = [(NUMBERED_TESTS, 1), ("docs/testing.md", 2)];
/// This file, which contains planted broken references.
const PLANTED: &str = "tests/it/tidy/references.rs";

/// The text files of a project, and the names of all its files and folders.
struct Tree {
    texts: BTreeMap<String, String>,
    paths: BTreeSet<String>,
}

impl Tree {
    fn from_texts(texts: &[(&str, &str)]) -> Self {
        let texts: BTreeMap<String, String> =
            texts.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        let mut paths = BTreeSet::new();
        for file in texts.keys() {
            paths.extend(Path::new(file).ancestors().map(|path| path.to_string_lossy().into_owned()));
        }
        Self { texts, paths }
    }

    fn read(root: &Path) -> Self {
        let mut tree = Self { texts: BTreeMap::new(), paths: BTreeSet::new() };
        tree.walk(root, "");
        tree
    }

    fn walk(&mut self, root: &Path, folder: &str) {
        for entry in fs::read_dir(root.join(folder)).expect("a readable folder") {
            let entry = entry.expect("a readable folder");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let hidden = name.starts_with('.') && ![".ci", ".github"].contains(&name.as_str());
            if hidden || ["target", "node_modules"].contains(&name.as_str()) {
                continue;
            }
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            self.paths.insert(path.clone());
            if entry.path().is_dir() {
                self.walk(root, &path);
            } else if is_text(&name) {
                self.texts.insert(path, fs::read_to_string(entry.path()).expect("a text in UTF-8"));
            }
        }
    }

    /// Returns true if a path exists below the root, `src`, or the folder of
    /// the file that names it.
    fn has(&self, file: &str, path: &str) -> bool {
        let path = path.trim_matches('/');
        let here = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        ["", "src", here].iter().any(|folder| {
            let path = normalized(&format!("{folder}/{path}"));
            self.paths.contains(&path) || self.paths.contains(&format!("{path}.rs"))
        })
    }

    fn has_file_named(&self, name: &str) -> bool {
        self.paths.iter().any(|path| path.rsplit('/').next() == Some(name))
    }

    fn headings(&self, document: &str) -> Vec<&str> {
        let text = self.texts.get(document).map_or("", String::as_str);
        outside_fences(text)
            .filter(|line| line.starts_with('#'))
            .map(|line| line.trim_start_matches('#').trim())
            .collect()
    }

    /// Returns the numbered tests, and whether each exists.
    fn numbered_tests(&self) -> BTreeMap<&str, bool> {
        let rows = self.texts.get(NUMBERED_TESTS).map_or("", String::as_str).lines();
        rows.map(cells)
            .filter(|cells| cells.first().is_some_and(|id| is_number(id)))
            .map(|cells| (cells[0], !cells[cells.len() - 1].starts_with("planned")))
            .collect()
    }
}

fn is_text(name: &str) -> bool {
    TEXT_EXTENSIONS.contains(&extension(name)) || ["justfile", "run", "Dockerfile"].contains(&name)
}

/// Returns the extension of a path; empty if the path has none or is only an extension.
fn extension(path: &str) -> &str {
    path.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or("", |(_, extension)| extension)
}

/// Returns the path without `.`, `..` and empty segments.
fn normalized(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            name => segments.push(name),
        }
    }
    segments.join("/")
}

/// Returns the comments and strings of a Rust file, and the whole text of any other file.
fn prose(file: &str, text: &str) -> String {
    if extension(file) != "rs" {
        return text.to_owned();
    }
    // `code_only` replaces each character of a comment or string by one blank.
    let with_code = text.chars().zip(code_only(text).chars().collect::<Vec<_>>());
    with_code.map(|(c, code)| if c == '\n' || c != code { c } else { ' ' }).collect()
}

/// Returns the text as one line, without comment markers.
fn joined(prose: &str) -> String {
    let markers = |c: char| c.is_whitespace() || ['/', '!', '#', '-', '*'].contains(&c);
    prose.lines().map(|line| line.trim_start_matches(markers).trim_end()).collect::<Vec<_>>().join(" ")
}

fn outside_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// Returns the texts between single backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    outside_fences(text).flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn cells(line: &str) -> Vec<&str> {
    let row = line.strip_prefix('|').and_then(|line| line.trim_end().strip_suffix('|'));
    row.map_or_else(Vec::new, |row| row.split('|').map(str::trim).collect())
}

fn is_path(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte))
}

/// Returns true for `T` and one or two digits.
fn is_number(word: &str) -> bool {
    word.strip_prefix('T').is_some_and(|digits| {
        (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Returns the anchor that GitHub generates for a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns one sentence for each broken reference of a tree.
fn broken(tree: &Tree) -> Vec<String> {
    let tests = tree.numbered_tests();
    let mut found = Vec::new();
    for (file, text) in tree.texts.iter().filter(|(file, _)| *file != PLANTED) {
        let prose = prose(file, text);
        let mut references = banned(text);
        references.extend(documents(tree, file, &prose));
        references.extend(paths(tree, file, &prose));
        references.extend(sections(tree, &prose));
        let words = prose.split(|c: char| !c.is_alphanumeric()).filter(|word| is_number(word));
        references.extend(words.filter(|word| !tests.contains_key(word)).map(str::to_owned));
        if extension(file) == "md" {
            references.extend(links(tree, file, text));
        }
        for (_, columns) in MODULE_TABLES.iter().filter(|(document, _)| document == file) {
            references.extend(modules(tree, text, *columns));
        }
        found.extend(references.iter().map(|reference| format!("{file} names {reference}")));
    }
    found.extend(missing_tests(tree, &tests));
    found
}

/// Returns the names of banned documents in a text.
fn banned(text: &str) -> Vec<String> {
    let names = BANNED.iter().map(|name| format!("{name}.md"));
    names.filter(|name| text.match_indices(name.as_str()).any(|(at, _)| !is_inside_word(text, at))).collect()
}

fn is_inside_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// Returns the documents named in a text that do not exist.
fn documents(tree: &Tree, file: &str, prose: &str) -> Vec<String> {
    let runs = prose.split(|c: char| !c.is_ascii() || !is_path(c.encode_utf8(&mut [0; 4])));
    runs.map(|run| run.trim_end_matches('.'))
        .filter(|run| extension(run) == "md" && !run.starts_with("//"))
        .filter(|run| !tree.has(file, run))
        .map(str::to_owned)
        .collect()
}

/// Returns the files and folders in backticks that do not exist.
fn paths(tree: &Tree, file: &str, prose: &str) -> Vec<String> {
    let missing = spans(prose).filter(|span| is_path(span)).filter(|span| match span.split_once('/') {
        Some((folder, _)) => FOLDERS.contains(&folder) && !tree.has(file, span),
        None => extension(span) == "rs" && !tree.has_file_named(span),
    });
    missing.map(str::to_owned).collect()
}

/// Returns the headings, as in "`docs/x.md`, Name of the heading", that the document does not have.
fn sections(tree: &Tree, prose: &str) -> Vec<String> {
    let text = joined(prose);
    let mut missing = Vec::new();
    for (at, _) in text.match_indices(".md`, ") {
        let document = text[..at + 3].rsplit('`').next().unwrap_or_default();
        let name = text[at + 6..].split([')', '.', ':', ';', ',']).next().unwrap_or_default().trim();
        let is_name = name.starts_with(char::is_uppercase) && !is_number(name);
        let known = tree.headings(document).iter().any(|heading| heading.eq_ignore_ascii_case(name));
        if is_name && tree.texts.contains_key(document) && !known {
            missing.push(format!("{document}, {name}"));
        }
    }
    missing
}

/// Returns the links of a document whose target does not exist.
fn links(tree: &Tree, file: &str, text: &str) -> Vec<String> {
    let lines = outside_fences(text).collect::<Vec<_>>().join("\n");
    let targets = lines.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let is_broken = |target: &&str| {
        let (path, fragment) = target.split_once('#').unwrap_or((*target, ""));
        let path = if path.is_empty() { file.to_owned() } else { normalized(&format!("{folder}/{path}")) };
        let has_anchor = || tree.headings(&path).iter().any(|heading| anchor(heading) == fragment);
        !tree.paths.contains(&path) || !fragment.is_empty() && !has_anchor()
    };
    targets.filter(|target| !target.contains(':')).filter(is_broken).map(str::to_owned).collect()
}

/// Returns the test modules in the last columns of tables that do not exist.
fn modules(tree: &Tree, text: &str, columns: usize) -> Vec<String> {
    let rows = text.lines().map(cells).flat_map(|cells| {
        let names = cells.into_iter().rev().take(columns).flat_map(|cell| cell.split('`').skip(1).step_by(2));
        names.collect::<Vec<_>>()
    });
    let names = rows.filter(|name| !name.contains(['/', '.', ' ', '(']));
    names.filter(|name| !is_module(tree, name)).map(str::to_owned).collect()
}

/// Returns true for a file or folder below `tests/it`, and for a module or
/// function in such a file.
fn is_module(tree: &Tree, name: &str) -> bool {
    let path = format!("tests/it/{}", name.replace("::", "/"));
    let exists = |path: &str| tree.paths.contains(path) || tree.paths.contains(&format!("{path}.rs"));
    let item = |(file, item): (&str, &str)| {
        tree.texts.get(&format!("{file}.rs")).is_some_and(|text| {
            [format!("mod {item} "), format!("fn {item}(")].iter().any(|declared| text.contains(declared))
        })
    };
    exists(&path) || path.rsplit_once('/').is_some_and(item)
}

/// Returns the numbered tests that are not planned in the table and that no test names.
fn missing_tests(tree: &Tree, tests: &BTreeMap<&str, bool>) -> Vec<String> {
    let sources = tree.texts.iter().filter(|(file, _)| file.starts_with("tests/") && *file != PLANTED);
    let prose: Vec<String> = sources.map(|(file, text)| prose(file, text)).collect();
    let named =
        |id: &str| prose.iter().any(|text| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == id));
    let missing = tests.iter().filter(|(id, exists)| **exists && !named(id));
    missing.map(|(id, _)| format!("{NUMBERED_TESTS} says that {id} exists, and no test names it")).collect()
}

#[test]
fn every_reference_exists() {
    let tree = Tree::read(&super::root());
    assert!(tree.numbered_tests().len() > 10, "the table of numbered tests was read");
    assert!(tree.texts.len() > 200, "the text files of the tree were read");
    let found = broken(&tree);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Returns the broken references of a valid tree with one more file.
fn broken_in(file: &str, text: &str) -> Vec<String> {
    let row = "| T1 | x | x | x | x | `faults::disk` |\n| T8 | x | x | x | x | planned |\n";
    let tests = format!("# Reliability\n\n## The oracle\n\n{row}");
    broken(&Tree::from_texts(&[
        (NUMBERED_TESTS, &tests),
        ("README.md", "[oracle](docs/reliability.md#the-oracle), [here](#pvz)\n# pvz\n"),
        ("src/app/relay.rs", "//! T1 of `docs/reliability.md`, The\n//! oracle: `app/relay.rs`.\nfn f() {}"),
        ("tests/it/faults/disk.rs", "//! T1.\nmod inner {}\n"),
        (file, text),
    ]))
}

#[test]
fn valid_references_are_not_reported() {
    for (file, text) in [
        ("docs/x.md", "`src/app`, `app/`, `relay.rs`, `tests/it/faults`, `GET /v1/x`, `target/x.rs`, T8"),
        ("docs/x.md", "[a](https://x.org/y.md#z) [b](../src/app/relay.rs)\n```\n`src/no.rs` [c](d)\n```\n"),
        ("docs/testing.md", "| a | b |\n| x | `faults`, `faults::disk::inner`, `tests/it` | |"),
        ("src/x.rs", "fn f() { let x = \"src/no.rs\"; DESIGN_md(T99) } // 2026-12-31T10:00"),
        ("src/x.rs", "// README.md. `docs/reliability.md`, so that; `docs/reliability.md`, T1"),
    ] {
        assert_eq!(broken_in(file, text), [""; 0], "{text}");
    }
}

#[test]
fn planted_broken_references_are_found() {
    for (file, text, named) in [
        ("docs/x.md", "see docs/partitions.md.", "docs/partitions.md"),
        ("src/x.rs", "/// As docs/no.md says.", "docs/no.md"),
        ("src/x.rs", "fn f() { g(\"docs/no.md\") }", "docs/no.md"),
        ("migrations/x.sql", "-- See no/README.md", "no/README.md"),
        ("src/x.rs", "//! `adapters/guess.rs`", "adapters/guess.rs"),
        ("docs/x.md", "`src/app/no.rs`", "src/app/no.rs"),
        ("docs/x.md", "`no.rs`", "no.rs"),
        ("docs/x.md", "[x](no.json)", "no.json"),
        ("docs/x.md", "[x](reliability.md#the-oracles)", "reliability.md#the-oracles"),
        ("docs/x.md", "[x](#nowhere)", "#nowhere"),
        ("src/x.rs", "// (`docs/reliability.md`, The\n// suite)", "docs/reliability.md, The suite"),
        ("src/x.rs", "// T9", "T9"),
        ("docs/testing.md", "| x | `faults::no` |", "faults::no"),
        ("docs/testing.md", "| x | y | `faults::disk::no` |", "faults::disk::no"),
    ] {
        assert_eq!(broken_in(file, text), [format!("{file} names {named}")], "{text}");
    }
    // A banned document is reported twice: it does not exist either.
    let found = format!("src/x.rs names {}.md", BANNED[0]);
    assert_eq!(broken_in("src/x.rs", &format!("// (see {}.md)", BANNED[0])), [found.as_str(), &found]);
    let unnamed = "docs/reliability.md says that T2 exists, and no test names it".to_owned();
    let tree = [(NUMBERED_TESTS, "| T2 | x | x | x | x | `storm` |"), ("tests/it/storm.rs", "fn t2() {}")];
    assert_eq!(broken(&Tree::from_texts(&tree)), [unnamed]);
}
