//! The import use case: a stream of rows in, a stream of results out.
//!
//! Rows are read only as fast as the writers take them, and only while results are read, so memory
//! stays bounded whatever the length of the stream. A separate task runs the rows, and a row starts
//! only when its result has a slot. So rows in progress finish and release their slots in the
//! writers' queue even if nobody reads the results.

use std::future::ready;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Admission, Caller, Writer};
use crate::domain::{Accept, Answer, Command, ImportRow, OrderView, Reason, Refusal, RequestId};
use crate::ports::Outcome;

/// The most rows of one stream in progress, and the most results that nobody has read yet:
/// enough to fill two batches of the writers.
const WINDOW: usize = 1_024;
/// Row timeout: the longest wait for a queue slot and for the commit. It is
/// generous, because it exists only to end a stream whose store has stopped
/// answering.
const ROW_TIMEOUT: Duration = Duration::from_mins(10);

/// A row of an import, as read by a transport.
#[derive(Debug)]
pub struct ImportRequest {
    /// The order id that the result repeats.
    pub order_id: String,
    /// The order to accept with its `request_id`, or the refusal of a row that
    /// could not be read.
    pub accept: Result<(Accept, Option<RequestId>), Refusal>,
}

/// The result of a row.
#[derive(Debug)]
pub struct ImportResult {
    /// The index of the row in the stream, from 0.
    pub index: i64,
    /// The order id of the row.
    pub order_id: String,
    /// The accepted order, or the refusal.
    pub outcome: Result<OrderView, Refusal>,
    /// True if an identical order existed before.
    pub already_existed: bool,
}

/// Imports orders. Clones share the writer pool.
#[derive(Clone)]
pub struct ImportOrders {
    writer: Writer,
    drain: CancellationToken,
}

impl ImportOrders {
    /// Creates the use case. A cancelled `drain` ends running imports.
    pub fn new(writer: Writer, drain: CancellationToken) -> Self {
        Self { writer, drain }
    }

    /// Imports rows until they end, one of them is an error, or the service
    /// drains. Rows in progress are then finished, and the error or the refusal
    /// of the drain is the last item. A failure of the store ends the stream at
    /// once. Rows without a result can safely be sent again.
    pub fn run(
        &self,
        caller: Caller,
        rows: impl Stream<Item = Result<ImportRequest, Refusal>> + Send + 'static,
    ) -> BoxStream<'static, Result<ImportResult, Refusal>> {
        let (failure, failed) = oneshot::channel();
        // Boxed, because a channel allocates room for 32 items at once, also for an idle stream.
        let (slots, mut results) = mpsc::channel::<Box<_>>(WINDOW);
        let writer = self.writer.clone();
        let rows = rows
            .take_until(self.drain.clone().cancelled_owned())
            .scan(Some(failure), |failure, row| {
                ready(row.map_err(|refusal| failure.take().map(|failure| failure.send(refusal))).ok())
            })
            .enumerate()
            .filter_map(move |row| {
                let slot = slots.clone().reserve_owned();
                async { slot.await.ok().map(|slot| (slot, row)) }
            })
            .map(move |(slot, (index, row))| {
                let result = import_row(writer.clone(), caller.clone(), index, row);
                async { _ = slot.send(Box::new(result.await)) }
            })
            .buffer_unordered(WINDOW);
        let imported = AbortOnDropHandle::new(tokio::spawn(rows.collect::<()>()));
        let drain = self.drain.clone();
        let end = async move {
            match imported.await {
                Err(_panic) => Some(Refusal::internal()),
                Ok(()) if drain.is_cancelled() => Some(Refusal::stopping()),
                Ok(()) => failed.await.ok(),
            }
        };
        let end = stream::once(end).filter_map(|refusal| ready(refusal.map(Err)));
        let results = stream::poll_fn(move |context| results.poll_recv(context)).map(|result| *result);
        until_first_error(results.chain(end)).boxed()
    }
}

/// Ends a stream after its first error.
fn until_first_error<T>(
    results: impl Stream<Item = Result<T, Refusal>>,
) -> impl Stream<Item = Result<T, Refusal>> {
    results.scan(false, |failed, result| {
        let ended = *failed;
        *failed = result.is_err();
        ready((!ended).then_some(result))
    })
}

/// Imports a row. After an error, the row may or may not have been imported.
async fn import_row(
    writer: Writer,
    caller: Caller,
    index: usize,
    row: ImportRequest,
) -> Result<ImportResult, Refusal> {
    let ImportRequest { order_id, accept } = row;
    let (outcome, already_existed) = match accept {
        Ok((accept, request_id)) => accept_row(&writer, caller, accept, request_id).await?,
        Err(refusal) => (Err(refusal), false),
    };
    let index = i64::try_from(index).unwrap_or(i64::MAX);
    Ok(ImportResult { index, order_id, outcome, already_existed })
}

/// Accepts the order of a row. Returns the outcome, and whether the order
/// existed before.
async fn accept_row(
    writer: &Writer,
    caller: Caller,
    accept: Accept,
    request_id: Option<RequestId>,
) -> Result<(Result<OrderView, Refusal>, bool), Refusal> {
    let caller = Caller { deadline: Instant::now() + ROW_TIMEOUT, ..caller };
    let command = Command::Import(ImportRow(accept));
    let answer = match writer.submit(command, &caller, request_id, Admission::Wait).await {
        Ok(Outcome { answer, .. }) => answer,
        // A bug that one row triggers is that row's result; the others go on.
        Err(refusal) if refusal.reason == Reason::Internal => Err(refusal),
        Err(refusal) => return Err(refusal),
    };
    match answer {
        Ok(Answer::Order(view)) => Ok((Ok(view), false)),
        Ok(Answer::AlreadyExisted(view)) => Ok((Ok(view), true)),
        Ok(Answer::Results(_)) => Err(Refusal::internal()),
        Err(refusal) => Ok((Err(refusal), false)),
    }
}
