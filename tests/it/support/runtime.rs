//! The Tokio runtime that synchronous tests share.

use std::sync::OnceLock;

use tokio::runtime::{EnterGuard, Runtime};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

/// Runs a future to completion.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Enters the runtime. Some adapters need it when they are opened or dropped.
pub fn enter_runtime() -> EnterGuard<'static> {
    runtime().enter()
}
