//! Limits the total memory of incomplete requests and open streams. Each of them has its own limit
//! too, but a client may open many and finish none.
//!
//! A new stream is refused if all streams would exceed their half of the memory. A new request is
//! never refused. Instead, the request that has been incomplete for longest is evicted. A normal
//! client completes its requests within milliseconds, so the incomplete requests of a hostile
//! client do not affect it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::{Reason, Refusal};

/// The memory of a request without its body: HTTP/2 stream, headers and call. Measured
/// (`tests/it/faults/beside_attacks.rs`) and rounded up.
pub const OPEN_REQUEST: usize = 8 * 1024;
/// The memory of an open stream of answers: its request, tasks and buffers. Measured in the same
/// way and rounded up.
const OPEN_STREAM: usize = 16 * 1024;
/// The delay after which a client should retry.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The memory that all incomplete requests and open streams may use. Clones share the limit.
#[derive(Debug, Clone)]
pub struct RequestMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    in_use: Mutex<InUse>,
}

#[derive(Debug, Default)]
struct InUse {
    /// Bytes of streams.
    streams: usize,
    /// Bytes of incomplete requests.
    requests: usize,
    /// The incomplete requests by age, the oldest first.
    incomplete: BTreeMap<u64, IncompleteRequest>,
    next_id: u64,
}

#[derive(Debug)]
struct IncompleteRequest {
    bytes: usize,
    evicted: CancellationToken,
}

impl RequestMemory {
    /// Creates a limit, in bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, in_use: Mutex::default() }))
    }

    /// Returns the account of a request that has not begun to arrive.
    pub fn open(&self) -> RequestBytes {
        RequestBytes { memory: self.clone(), registered: None }
    }

    /// Returns the account of a stream of answers.
    ///
    /// # Errors
    /// `OVERLOADED` if all streams together would exceed half of the memory.
    pub fn open_stream(&self) -> Result<StreamBytes, Refusal> {
        let mut now = self.lock();
        if now.streams + OPEN_STREAM > self.0.limit / 2 {
            return Err(overloaded("streams", self.0.limit));
        }
        now.streams += OPEN_STREAM;
        now.make_room(self.0.limit);
        drop(now);
        Ok(StreamBytes(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        self.0.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InUse {
    /// Evicts the oldest incomplete requests until the others fit into the limit.
    fn make_room(&mut self, limit: usize) {
        while self.streams + self.requests > limit {
            let Some((_, oldest)) = self.incomplete.pop_first() else { return };
            self.requests -= oldest.bytes;
            oldest.evicted.cancel();
        }
    }

    fn remove(&mut self, id: u64) {
        if let Some(request) = self.incomplete.remove(&id) {
            self.requests -= request.bytes;
        }
    }
}

/// The account of one stream of answers. Its bytes are released on drop.
#[derive(Debug)]
pub struct StreamBytes(RequestMemory);

impl Drop for StreamBytes {
    fn drop(&mut self) {
        self.0.lock().streams -= OPEN_STREAM;
    }
}

/// The account of one request. Its bytes are released on drop.
#[derive(Debug)]
pub struct RequestBytes {
    memory: RequestMemory,
    /// The id and the eviction of the request since it became incomplete.
    registered: Option<(u64, CancellationToken)>,
}

impl RequestBytes {
    /// Sets the bytes that the incomplete request uses now. With 0 it is complete.
    ///
    /// # Errors
    /// `OVERLOADED` if this request had been incomplete for longest when the total exceeded the
    /// limit.
    pub fn set(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes == 0 {
            self.release();
            return Ok(());
        }
        let limit = self.memory.0.limit;
        let mut guard = self.memory.lock();
        let now = &mut *guard;
        let (id, evicted) = self.registered.get_or_insert_with(|| {
            now.next_id += 1;
            let evicted = CancellationToken::new();
            let request = IncompleteRequest { bytes: 0, evicted: evicted.clone() };
            now.incomplete.insert(now.next_id, request);
            (now.next_id, evicted)
        });
        if let Some(request) = now.incomplete.get_mut(id) {
            now.requests = now.requests - request.bytes + bytes;
            request.bytes = bytes;
        }
        now.make_room(limit);
        if evicted.is_cancelled() { Err(overloaded("incomplete requests", limit)) } else { Ok(()) }
    }

    /// Returns a future that completes with `OVERLOADED` when this request is evicted. Only an
    /// incomplete request is evicted.
    pub fn evicted(&self) -> impl Future<Output = Refusal> + Send + use<> {
        let evicted = self.registered.as_ref().map(|(_, evicted)| evicted.clone());
        let limit = self.memory.0.limit;
        async move {
            match evicted {
                Some(evicted) => evicted.cancelled().await,
                None => std::future::pending().await,
            }
            overloaded("incomplete requests", limit)
        }
    }

    fn release(&mut self) {
        if let Some((id, _)) = self.registered.take() {
            self.memory.lock().remove(id);
        }
    }
}

impl Drop for RequestBytes {
    fn drop(&mut self) {
        self.release();
    }
}

fn overloaded(what: &str, limit: usize) -> Refusal {
    let message = format!("the service has more {what} than memory for them; the request had no effect");
    Refusal::new(Reason::Overloaded, message).with("limit_bytes", limit).retry_after(RETRY_DELAY)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::{OPEN_STREAM, RequestMemory};
    use crate::domain::Reason;

    fn used(memory: &RequestMemory) -> usize {
        let now = memory.lock();
        assert_eq!(now.requests, now.incomplete.values().map(|request| request.bytes).sum::<usize>());
        now.requests + now.streams
    }

    #[test]
    fn the_oldest_incomplete_request_makes_room() {
        let memory = RequestMemory::new(100);
        let [mut one, mut two, mut three] = std::array::from_fn(|_| memory.open());
        one.set(30).unwrap();
        two.set(60).unwrap();
        one.set(40).unwrap();
        assert_eq!((used(&memory), one.evicted().now_or_never().is_none()), (100, true));
        three.set(10).unwrap();
        assert_eq!(used(&memory), 70);
        assert_eq!(one.evicted().now_or_never().unwrap().reason, Reason::Overloaded);
        assert_eq!(one.set(1).unwrap_err().reason, Reason::Overloaded);
        assert!(two.evicted().now_or_never().is_none());
        drop((one, two));
        assert_eq!(used(&memory), 10);
        three.set(0).unwrap();
        assert_eq!(used(&memory), 0);
    }

    #[test]
    fn a_request_that_was_complete_is_young_again() {
        let memory = RequestMemory::new(100);
        let [mut import, mut other, mut third] = std::array::from_fn(|_| memory.open());
        import.set(50).unwrap();
        other.set(50).unwrap();
        import.set(0).unwrap();
        import.set(50).unwrap();
        third.set(1).unwrap();
        assert!(other.evicted().now_or_never().is_some());
        assert!(import.evicted().now_or_never().is_none());
    }

    #[test]
    fn a_request_larger_than_the_limit_is_refused() {
        let memory = RequestMemory::new(100);
        let mut request = memory.open();
        assert_eq!(request.set(101).unwrap_err().reason, Reason::Overloaded);
        assert_eq!(used(&memory), 0);
    }

    #[test]
    fn new_streams_are_refused_at_half_of_the_limit() {
        let memory = RequestMemory::new(4 * OPEN_STREAM);
        let mut request = memory.open();
        request.set(3 * OPEN_STREAM).unwrap();
        let first = memory.open_stream().unwrap();
        assert!(request.evicted().now_or_never().is_none());
        let second = memory.open_stream().unwrap();
        assert!(request.evicted().now_or_never().is_some(), "requests make room for streams");
        assert_eq!(memory.open_stream().unwrap_err().reason, Reason::Overloaded);
        drop(first);
        let third = memory.open_stream().unwrap();
        drop((second, third));
        assert_eq!(used(&memory), 0);
    }
}
