//! Work on large texts, off the threads that serve connections.
//!
//! On two cores one thread serves all connections, and whatever it computes delays all of them. A
//! body or an answer of hundreds of kilobytes is read or written elsewhere.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::domain::Refusal;

/// The size from which a text is large, in bytes. Work on a smaller one takes a fraction of a
/// millisecond.
const LARGE: usize = 16 * 1024;

/// Works on large texts, on half of the cores. More threads would take their time from the threads
/// that serve connections.
#[derive(Clone)]
pub struct LargeTexts(Arc<Semaphore>);

impl LargeTexts {
    /// Returns an instance with limits of its own.
    pub fn new() -> Self {
        let threads = available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// Runs work on a text of this size: a small one at once, a large one on another thread.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the service stops first.
    pub async fn run<T: Send + 'static>(
        &self,
        size: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        if size < LARGE {
            return Ok(work());
        }
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|_closed| Refusal::stopping())?;
        let done = spawn_blocking(move || {
            // Held while the work runs, even if its caller is gone.
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_cancelled) => Refusal::stopping(),
        })
    }
}
