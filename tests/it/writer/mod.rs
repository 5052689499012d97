//! The writer pool: what it promises to callers whatever the store does.

mod admission;
mod batching;
mod failures;
mod stage;
