//! Helpers of the tests: the service in process, a clock that a test sets,
//! predictable ids, builders of commands, and a property runner that prints how
//! to replay a failure.

pub mod app;
pub mod command_runner;
pub mod commands;
pub mod order_situations;
pub mod ports;
pub mod property;
pub mod runtime;
pub mod time;
