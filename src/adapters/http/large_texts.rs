//! Parses and serializes large texts on separate threads.
//!
//! On two cores one thread serves all connections, so its computations delay all of them. Bodies
//! and answers of hundreds of kilobytes are therefore parsed and serialized on separate threads.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::domain::Refusal;

/// The minimum size of a large text, in bytes. Work on a smaller text takes a fraction of a
/// millisecond.
const LARGE: usize = 16 * 1024;

/// Works on large texts, on at most half of the cores. More threads would take CPU time from the
/// threads that serve connections.
#[derive(Clone)]
pub struct LargeTexts(Arc<Semaphore>);

impl LargeTexts {
    /// Returns an instance with its own limits.
    pub fn new() -> Self {
        let threads = available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// Runs work on a text of this size: on this thread if the text is small, else on another
    /// thread.
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
