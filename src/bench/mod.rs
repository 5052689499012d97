//! The load generator of `pvz bench`. It drives a server from outside, as a
//! client, and returns figures; the command line reads the options and prints.
//!
//! - `plan`: what a run measures, on which server, at which pace.
//! - `service` runs a scenario against a server; `relay` measures the path of
//!   events from the store to a consumer.
//! - `load` makes unary calls and `import` streams rows; both ask `work` for
//!   the requests and count in `measured`.
//! - `unary_client` and `connection` are the two clients: a lean one for the
//!   measured calls, the generated one for streams and everything else.
//! - `processes` starts servers and consumers of the run's own.
//! - `baseline` measures the database without the service.

mod baseline;
mod connection;
mod error;
mod import;
mod import_stream;
mod load;
mod measured;
mod plan;
mod processes;
mod progress;
mod relay;
mod report;
mod service;
mod unary_client;
mod work;

pub use error::BenchError;
pub use plan::{Pace, Plan, RelayPlan, Scenario, ServerPlan, Target};
pub use relay::measure_relay;
pub use report::{Figure, RelayReport, ServiceReport};
pub use service::measure_service;
