//! Shared by the tests: the service in process, a clock that a test sets,
//! foreseeable ids, builders of commands, and a property runner that prints how
//! to replay a failure.

pub mod app;
pub mod commands;
pub mod ports;
pub mod property;
pub mod time;
pub mod town;
pub mod world;
