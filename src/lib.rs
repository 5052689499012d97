//! Order management for marketplace pickup points. `src/README.md` is the map.

pub mod adapters;
pub mod app;
pub mod bench;
pub mod cli;
pub mod compose;
pub mod config;
pub mod domain;
pub mod lifecycle;
pub mod ports;
pub mod proto;
pub mod telemetry;
