//! Detection of cycles among the modules of one folder.

use std::collections::{BTreeMap, BTreeSet};

use super::layers::resolve;
use super::source::{code_only, paths};

/// The modules that each module of a folder names: `folder → module → modules`.
type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Returns the cycles among sibling modules, one line each, such as
/// `adapters/http: pages → router → pages`. `sources` are the files below `src`,
/// by their path in it.
pub fn cycles(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (folder, edges) in graph(sources) {
        let mut seen = BTreeSet::new();
        for module in edges.keys() {
            if let Some(cycle) = cycle_through(module, &edges)
                && seen.insert(cycle.iter().cloned().collect::<BTreeSet<_>>())
            {
                found.push(format!("{folder}: {}", cycle.join(" → ")));
            }
        }
    }
    found
}

fn module_path(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

fn graph(sources: &BTreeMap<String, String>) -> Graph {
    let modules: BTreeSet<Vec<String>> = sources.keys().map(|file| module_path(file)).collect();
    let is_module = |path: &[String]| modules.iter().any(|module| module.starts_with(path));
    let mut graph = Graph::new();
    for (file, source) in sources {
        let from = module_path(file);
        for path in paths(&code_only(source)) {
            let Some(to) = resolve(&from.join("/"), &path) else { continue };
            let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
            // A module may name its parents and its children.
            if shared < from.len() && shared < to.len() && is_module(&to[..=shared]) {
                let siblings = graph.entry(from[..shared].join("/")).or_default();
                siblings.entry(from[shared].clone()).or_default().insert(to[shared].clone());
            }
        }
    }
    graph
}

/// Returns the shortest path from a module back to itself.
fn cycle_through(start: &str, edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut queue = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut visited = BTreeSet::new();
    while let Some(path) = queue.pop_front() {
        for next in path.last().and_then(|last| edges.get(last)).into_iter().flatten() {
            let longer = [path.clone(), vec![next.clone()]].concat();
            if next == start {
                return Some(longer);
            }
            if visited.insert(next.clone()) {
                queue.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod planted {
    use super::cycles;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        cycles(&files.iter().map(|(file, source)| ((*file).to_owned(), (*source).to_owned())).collect())
    }

    #[test]
    fn modules_may_name_siblings_parents_and_children() {
        let files = [
            ("a/mod.rs", "mod b; mod c; use self::b::B;"),
            ("a/b.rs", "use super::c::C; use super::Shared;"),
            ("a/c.rs", "use crate::d::D;"),
            ("d.rs", "use self::e::E;"),
            ("d/e.rs", "use super::D;"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }

    #[test]
    fn planted_cycles_are_found() {
        let pair = [("a/b.rs", "use super::c::C;"), ("a/c.rs", "fn f() { crate::a::b::g() }")];
        assert_eq!(found(&pair), ["a: b → c → b"]);
        let three = [
            ("a/b.rs", "use super::c::C;"),
            ("a/c/inner.rs", "use crate::a::{d, x::Y};"),
            ("a/d.rs", "use super::{b, E};"),
        ];
        assert_eq!(found(&three), ["a: b → c → d → b"]);
    }
}
