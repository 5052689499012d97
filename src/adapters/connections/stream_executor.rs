//! The tasks of HTTP/2 streams. hyper does not poll the body of a response while
//! the client has no window, and so no timeout in the body can end the stream:
//! the task that runs it does.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use hyper::rt::Executor;

use super::{Stalled, WriteLimit};

/// The frames of a response that its stream has taken from the body.
#[derive(Default)]
struct Frames {
    taken: Cell<usize>,
    /// True if the last frame may still wait for the client.
    waiting: Cell<bool>,
}

tokio::task_local! {
    static FRAMES: Frames;
}

/// Notes that the body was polled, and whether it returned a frame. hyper polls
/// the body again only when that frame was sent. Does nothing outside a stream of
/// HTTP/2: over HTTP/1.1 the write timeout of the connection suffices.
pub(super) fn note(frame: bool) {
    // Fails outside a stream.
    _ = FRAMES.try_with(|frames| {
        frames.waiting.set(frame);
        frames.taken.set(frames.taken.get() + usize::from(frame));
    });
}

/// Spawns HTTP/2 streams, and ends those whose client takes nothing for too long.
#[derive(Debug, Clone)]
pub struct StreamExecutor(WriteLimit);

impl StreamExecutor {
    pub(super) fn new(limit: WriteLimit) -> Self {
        Self(limit)
    }
}

impl<S> Executor<S> for StreamExecutor
where
    S: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: S) {
        tokio::spawn(FRAMES.scope(Frames::default(), run(stream, self.0.clone())));
    }
}

/// Runs a stream to its end, or until its client has taken nothing for too long.
/// Dropping the stream resets it.
async fn run(stream: impl Future<Output = ()>, limit: WriteLimit) {
    let mut stream = pin!(stream);
    let mut waiting: Option<(usize, Stalled)> = None;
    poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let frame = FRAMES.with(|frames| frames.waiting.get().then(|| frames.taken.get()));
        if waiting.as_ref().map(|(waiting, _)| *waiting) != frame {
            waiting = frame.map(|frame| (frame, limit.stalled()));
        }
        match &mut waiting {
            Some((_, stalled)) => stalled.as_mut().poll(context),
            None => Poll::Pending,
        }
    })
    .await;
}
