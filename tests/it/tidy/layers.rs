//! The layers, and the modules and crates that each may name.

use super::source::{code_only, paths};

/// A layer: its folder or file under `src`, the layers and adapters that it may name besides itself,
/// and the crates that it may name; `None` for every crate.
struct Layer {
    at: &'static str,
    may_name: &'static [&'static str],
    crates: Option<&'static [&'static str]>,
}

const fn layer(at: &'static str, may_name: &'static [&'static str]) -> Layer {
    Layer { at, may_name, crates: None }
}

/// Modules that every adapter may name.
const SHARED: [&str; 11] = [
    "proto",
    "adapters::api",
    "adapters::connections",
    "adapters::write_coalescing",
    "adapters::optimistic_insert",
    "adapters::last_commit",
    "adapters::lock_file",
    "adapters::file_identity",
    "adapters::status",
    "adapters::proto_mapping",
    "adapters::rows",
];
/// Driving adapters: they may name use cases, the other adapters may not.
const DRIVING: [&str; 4] = ["adapters/admin", "adapters/api", "adapters/grpc", "adapters/http"];

const LAYERS: [Layer; 12] = [
    Layer { at: "domain", may_name: &[], crates: Some(&["thiserror"]) },
    Layer { at: "ports", may_name: &["domain"], crates: Some(&["thiserror", "async_trait"]) },
    Layer {
        at: "app",
        may_name: &["domain", "ports"],
        crates: Some(&[
            "async_trait",
            "base64",
            "futures",
            "hmac",
            "sha2",
            "thiserror",
            "tokio",
            "tokio_util",
            "tracing",
        ]),
    },
    layer("adapters", &["domain", "ports"]),
    layer("proto", &[]),
    layer("config", &["domain"]),
    layer("telemetry", &["config", "domain::is_deceptive"]),
    // It logs port errors with their causes.
    layer("lifecycle", &["ports"]),
    layer("bench", &["compose", "config", "proto", "adapters::write_coalescing", "adapters::status"]),
    layer(
        "cli",
        &[
            "bench",
            "compose",
            "config",
            "app",
            "proto",
            "adapters::status",
            "lifecycle",
            "telemetry",
            // The function that makes text from outside safe to print.
            "domain::escape",
        ],
    ),
    layer(
        "compose",
        &["adapters", "app", "cli", "config", "domain", "lifecycle", "ports", "proto", "telemetry"],
    ),
    layer("main", &["cli"]),
];

/// Crates of a technology, and the places that may name them.
const TECHNOLOGIES: [(&str, &[&str]); 24] = [
    ("argh", &["cli"]),
    ("axum", &["adapters/admin", "adapters/http"]),
    ("chrono", &["cli", "proto", "telemetry", "adapters/http"]),
    ("confique", &["config"]),
    ("deadpool", &["adapters/postgres"]),
    ("diesel", &["adapters/sqlite", "adapters/postgres", "adapters/rows"]),
    ("diesel_async", &["adapters/postgres"]),
    ("diesel_migrations", &["adapters/sqlite", "adapters/postgres"]),
    ("encoding_rs", &["cli"]),
    ("h2", &["bench"]),
    ("hdrhistogram", &["bench"]),
    ("libsqlite3_sys", &["adapters/sqlite"]),
    ("maud", &["adapters/http"]),
    ("metrics", &["adapters/metered"]),
    ("moka", &["adapters/moka"]),
    ("metrics_exporter_prometheus", &["telemetry", "compose"]),
    (
        "prost",
        &["adapters/grpc", "adapters/http", "adapters/kafka", "adapters/rows", "bench", "cli", "proto"],
    ),
    ("rskafka", &["adapters/kafka"]),
    ("rustls", &["adapters/kafka", "adapters/postgres"]),
    ("rustls_native_certs", &["adapters/kafka", "adapters/postgres"]),
    // The configuration checks URLs with the driver's parser.
    ("tokio_postgres", &["adapters/postgres", "bench", "config"]),
    ("tokio_postgres_rustls", &["adapters/postgres"]),
    ("tonic", &["adapters/grpc", "adapters/http", "adapters/status", "bench", "cli", "proto"]),
    ("uuid", &["adapters/postgres", "adapters/system", "bench", "cli"]),
];

/// The places that may name `OrderCache`, the port by which a cache is read. The writer, the stores and
/// the rules are not among them, so no decision reads a cache.
const CACHE_READERS: [&str; 6] =
    ["ports", "app/cached_orders", "adapters/metered", "adapters/moka", "adapters/null", "compose"];

/// Returns one sentence for each name in a file under `src` that its layer may not use. `crates` are
/// the crates that the project depends on.
pub fn violations(file: &str, source: &str, crates: &[String]) -> Vec<String> {
    let place = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if place == "lib" {
        return Vec::new();
    }
    let Some(layer) = LAYERS.iter().find(|layer| within(place, layer.at)) else {
        return vec![format!("{file} belongs to no layer")];
    };
    let paths = paths(&code_only(source));
    let mut found: Vec<String> = paths
        .iter()
        .filter_map(|path| {
            let named = match resolve(place, path) {
                Some(ours) => forbidden_module(place, layer, &ours),
                None => forbidden_crate(place, layer, path, crates),
            };
            named.map(|what| format!("{file} names {what}"))
        })
        .collect();
    let reads_cache = paths.iter().any(|path| path.iter().any(|name| name == "OrderCache"));
    if reads_cache && !CACHE_READERS.iter().any(|reader| within(place, reader)) {
        found.push(format!("{file} names OrderCache"));
    }
    found.dedup();
    found
}

/// Returns true if a place is the folder or file, or is in it.
fn within(place: &str, folder: &str) -> bool {
    place == folder || place.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns a path relative to the root of this crate; `None` for a path of another crate.
pub fn resolve(place: &str, path: &[String]) -> Option<Vec<String>> {
    match path[0].as_str() {
        "crate" | "pvz" if path.len() > 1 => Some(path[1..].to_vec()),
        "super" => {
            let up = path.iter().take_while(|segment| *segment == "super").count();
            let module: Vec<String> = place.split('/').map(str::to_owned).collect();
            let base = module.len().saturating_sub(up);
            // In an inline module, `super::Type` refers to the file itself.
            if base == 1 && path[up..].iter().all(|name| name == "*" || name.starts_with(char::is_uppercase))
            {
                return None;
            }
            Some([&module[..base], &path[up..]].concat())
        }
        _ => None,
    }
}

/// Returns the part of this crate that a path names and the layer may not.
fn forbidden_module(place: &str, layer: &Layer, ours: &[String]) -> Option<String> {
    let named = ours.join("::");
    let is =
        |name: &str| named == name || named.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
    if is("*") {
        return Some("everything (crate::*)".to_owned());
    }
    // Other names are items of the crate root, such as macros.
    if !LAYERS.iter().any(|layer| is(layer.at)) {
        return None;
    }
    let own = layer.at != "adapters" && is(layer.at);
    if own || layer.may_name.iter().any(|name| is(name)) {
        return None;
    }
    if layer.at == "adapters" {
        let home: Vec<&str> = place.split('/').take(2).collect();
        let use_cases = DRIVING.contains(&home.join("/").as_str()) && is("app");
        if is(&home.join("::")) || SHARED.iter().any(|shared| is(shared)) || use_cases {
            return None;
        }
    }
    Some(format!("crate::{named}"))
}

/// Returns the path if it names another crate that the layer may not.
fn forbidden_crate(place: &str, layer: &Layer, path: &[String], crates: &[String]) -> Option<String> {
    let root = path[0].as_str();
    if path.len() == 1 || !crates.iter().any(|known| known == root) {
        return None;
    }
    let in_layer = layer.crates.is_none_or(|crates| crates.contains(&root));
    // tonic_health follows the rule of tonic, prost_types that of prost.
    let family = root.split('_').next().unwrap_or(root);
    let places = TECHNOLOGIES
        .iter()
        .find(|(technology, _)| *technology == root)
        .or_else(|| TECHNOLOGIES.iter().find(|(technology, _)| *technology == family));
    let in_place = places.is_none_or(|(_, places)| places.iter().any(|at| within(place, at)));
    (!in_layer || !in_place).then(|| path.join("::"))
}

#[cfg(test)]
mod planted {
    use super::violations;

    fn names(file: &str, source: &str) -> Vec<String> {
        let crates =
            ["diesel", "tonic", "tonic_types", "chrono", "tokio", "thiserror", "uuid", "serde", "axum"];
        violations(file, source, &crates.map(str::to_owned))
    }

    #[test]
    fn allowed_names_are_not_reported() {
        for (file, source) in [
            ("domain/order.rs", "use std::fmt; use super::{Money, OrderState}; use thiserror::Error;"),
            ("domain/order.rs", "/// as `tonic::Status` and crate::adapters\nconst X: &str = \"diesel::x\";"),
            ("app/cached_orders.rs", "use crate::ports::{OrderCache, OrderStore};"),
            ("app/mod.rs", "use crate::{domain::Order, ports::{Clock, Ids}}; use tokio::sync::Notify;"),
            (
                "adapters/grpc/call.rs",
                "use crate::adapters::{proto_mapping, status}; crate::app::Writer; super::x::y",
            ),
            ("adapters/memory/mod.rs", "struct X; mod tests { use super::X; use super::*; }"),
            ("adapters/sqlite/read.rs", "use super::tables; use diesel::prelude::*;"),
            ("compose.rs", "use crate::adapters::{grpc, sqlite}; use crate::config::Config;"),
            ("cli/verify.rs", "use crate::adapters::status::status_codes; fn f(chrono: u8) { diesel() }"),
        ] {
            assert_eq!(names(file, source), [""; 0], "{source}");
        }
    }

    #[test]
    fn planted_violations_are_found() {
        for (file, source, named) in [
            ("domain/order.rs", "use crate::ports::Clock;", "crate::ports::Clock"),
            ("domain/order.rs", "fn f() { let x = chrono::Utc::now(); }", "chrono::Utc::now"),
            ("domain/order.rs", "#[derive(serde::Serialize)] struct X;", "serde::Serialize"),
            ("domain/order.rs", "use super::super::app::Writer;", "crate::app::Writer"),
            ("domain/order.rs", "use crate::*;", "everything (crate::*)"),
            ("ports/clock.rs", "use {crate::app::Entry};", "crate::app::Entry"),
            ("ports/clock.rs", "fn f() -> ::tonic::Status;", "tonic::Status"),
            ("app/writer.rs", "fn f(x: Vec<crate::adapters::memory::MemoryStore>) {}", MEMORY),
            ("app/writer.rs", "use crate::{domain::X, adapters::{memory::MemoryStore}};", MEMORY),
            ("app/writer.rs", "use diesel::prelude::*;", "diesel::prelude::*"),
            ("app/writer.rs", "uuid :: Uuid :: nil()", "uuid::Uuid::nil"),
            ("adapters/grpc/call.rs", "use crate::adapters::memory::MemoryStore;", MEMORY),
            ("adapters/grpc/call.rs", "use super::super::memory::MemoryStore;", MEMORY),
            ("adapters/sqlite/read.rs", "use crate::app::Writer;", "crate::app::Writer"),
            ("adapters/memory/mod.rs", "use diesel::Queryable;", "diesel::Queryable"),
            ("adapters/sqlite/read.rs", "use tonic_types::pb;", "tonic_types::pb"),
            ("adapters/proto_mapping.rs", "use crate::adapters::memory::MemoryStore;", MEMORY),
            ("adapters/grpc/call.rs", "use crate::adapters::*;", "crate::adapters::*"),
            ("cli/get.rs", "use crate::ports::OrderStore;", "crate::ports::OrderStore"),
            ("cli/get.rs", "use crate::adapters::memory::MemoryStore;", MEMORY),
            ("main.rs", "pvz::compose::serve();", "crate::compose::serve"),
            ("compose.rs", "use axum::Router;", "axum::Router"),
            ("app/writer.rs", "use crate::ports::{Clock, OrderCache};", "OrderCache"),
            ("adapters/sqlite/write.rs", "fn f(x: &dyn crate::ports::OrderCache) {}", "OrderCache"),
        ] {
            assert_eq!(names(file, source), [format!("{file} names {named}")], "{source}");
        }
        assert_eq!(names("helpers/x.rs", ""), ["helpers/x.rs belongs to no layer"]);
    }

    const MEMORY: &str = "crate::adapters::memory::MemoryStore";
}
