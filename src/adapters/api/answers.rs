//! Streams of answers. A task of its own produces each of them.
//!
//! A transport polls a response only while its client has room for more. A future that waits
//! for a connection or for a place in a queue would keep it for as long as the client does not
//! read. Therefore transports accept only [`Answers`], and only a task polls what is behind
//! them.

use std::future::ready;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::StreamBytes;
use crate::domain::Refusal;

/// The most answers that wait for their reader.
const BUFFER: usize = 64;

/// A stream of answers that ends with its first refusal. Dropping it ends its task.
pub struct Answers<T>(BoxStream<'static, Result<T, Refusal>>);

impl<T: Send + 'static> Answers<T> {
    /// Spawns the task that polls `items`: up to a few items ahead of the reader, until the
    /// deadline. The deadline ends the task even if nobody reads. `account` is closed with the
    /// stream.
    pub(super) fn spawn(
        items: impl Stream<Item = Result<T, Refusal>> + Send + 'static,
        deadline: Option<Instant>,
        account: StreamBytes,
    ) -> Self {
        // One place more, for the refusal that ends the stream.
        let (sender, receiver) = mpsc::channel(BUFFER + 1);
        let task = AbortOnDropHandle::new(tokio::spawn(produce(items, deadline, sender)));
        let panicked = stream::once(async {
            let end = task.await;
            drop(account);
            end
        })
        .filter_map(|end| ready(end.err().map(|_| Box::new(Err(Refusal::internal())))));
        Self(ReceiverStream::new(receiver).chain(panicked).map(|answer| *answer).boxed())
    }
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

/// An answer on its way to the reader. A channel allocates room for 32 items at once, so the
/// items of many idle streams must be small.
type Boxed<T> = Box<Result<T, Refusal>>;

/// Sends items until the first refusal, the deadline, or the end of the reader.
async fn produce<T>(
    items: impl Stream<Item = Result<T, Refusal>>,
    deadline: Option<Instant>,
    sender: mpsc::Sender<Boxed<T>>,
) {
    let Ok(last) = sender.clone().try_reserve_owned() else { return };
    let late = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let items = pin!(items);
    let refusal = tokio::select! {
        refusal = send_items(items, &sender) => refusal,
        () = late => Some(Refusal::deadline_exceeded()),
    };
    if let Some(refusal) = refusal {
        last.send(Box::new(Err(refusal)));
    }
}

/// Sends items until the first refusal, and returns it.
async fn send_items<T>(
    mut items: Pin<&mut impl Stream<Item = Result<T, Refusal>>>,
    sender: &mpsc::Sender<Boxed<T>>,
) -> Option<Refusal> {
    while let Some(item) = items.next().await {
        match item {
            // The reader is gone if nothing can be sent.
            Ok(item) => sender.send(Box::new(Ok(item))).await.ok()?,
            Err(refusal) => return Some(refusal),
        }
    }
    None
}
