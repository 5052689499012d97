//! Memory of requests that have not arrived completely, limited for all of them
//! together. Each is limited on its own too, but a client may open many and
//! finish none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::domain::{Reason, Refusal};

/// The delay after which a client should retry.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The memory that all incomplete requests may use.
#[derive(Debug, Clone)]
pub struct RequestMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
}

impl RequestMemory {
    /// Creates a limit, in bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, used: AtomicUsize::new(0) }))
    }

    /// Returns the account of a request that has not begun to arrive.
    pub fn open(&self) -> RequestBytes {
        RequestBytes { memory: self.clone(), bytes: 0 }
    }

    /// Returns the bytes in use.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// The bytes that one request has buffered. They are released on drop.
#[derive(Debug)]
pub struct RequestBytes {
    memory: RequestMemory,
    bytes: usize,
}

impl RequestBytes {
    /// Sets the number of bytes that are buffered now.
    ///
    /// # Errors
    /// `OVERLOADED` if all requests together would exceed the limit. The account
    /// is unchanged then.
    pub fn set(&mut self, bytes: usize) -> Result<(), Refusal> {
        let Shared { limit, used } = &*self.memory.0;
        if let Some(more) = bytes.checked_sub(self.bytes) {
            if more == 0 {
                return Ok(());
            }
            let reserve = |used: usize| used.checked_add(more).filter(|sum| sum <= limit);
            used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve)
                .map_err(|_| overloaded(*limit))?;
        } else {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for RequestBytes {
    fn drop(&mut self) {
        self.memory.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn overloaded(limit: usize) -> Refusal {
    let message = "the service is receiving more incomplete requests than it has memory for; \
                   the request did not arrive";
    Refusal::new(Reason::Overloaded, message).with("limit_bytes", limit).retry_after(RETRY_DELAY)
}

#[cfg(test)]
mod tests {
    use super::RequestMemory;
    use crate::domain::Reason;

    #[test]
    fn requests_share_the_limit_and_release_it() {
        let memory = RequestMemory::new(100);
        let (mut one, mut two) = (memory.open(), memory.open());
        one.set(60).unwrap();
        two.set(40).unwrap();
        assert_eq!(two.set(41).unwrap_err().reason, Reason::Overloaded);
        assert_eq!(memory.used(), 100);
        one.set(59).unwrap();
        two.set(41).unwrap();
        drop(two);
        assert_eq!(memory.used(), 59);
        drop(one);
        assert_eq!(memory.used(), 0);
    }
}
