//! Tests of the writer pool: admission, batching, and failures of the store.

mod admission;
mod batching;
mod failures;
pub mod fixture;
