//! The stream to the server: sends rows, receives their results in any order,
//! and reconnects when the connection breaks.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::time::Instant;

use futures::{StreamExt as _, TryFutureExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Response;

use super::report::Report;
use super::row::{Row, RowLocation};
use crate::cli::client::{Backoff, Client, random_request_id};
use crate::cli::escape::plain;
use crate::cli::failure::Failure;
use crate::proto::v1::{AcceptOrderRequest, ImportOrdersRequest};

/// Rows that may be without a result.
const WINDOW: usize = 1_024;
/// Rows that may wait to be written to the connection.
const OUTGOING: usize = 64;

/// Sends every row and reports its result.
///
/// # Errors
/// The file cannot be read, or the server refuses the stream or sends no
/// result within the timeout.
pub(super) async fn run(
    client: &Client,
    rows: mpsc::Receiver<Result<Row, Failure>>,
    report: &mut Report,
) -> Result<(), Failure> {
    let transfer = Transfer {
        client,
        rows,
        report,
        unsent: VecDeque::new(),
        is_end_of_file: false,
        broken_since: None,
        is_outage_reported: false,
    };
    tokio::select! {
        outcome = transfer.run() => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::usage("interrupted")),
    }
}

/// A row that is sent or about to be sent.
struct Sent {
    location: RowLocation,
    request: AcceptOrderRequest,
}

struct Transfer<'a> {
    client: &'a Client,
    rows: mpsc::Receiver<Result<Row, Failure>>,
    report: &'a mut Report,
    /// Rows to send, those of a broken connection first.
    unsent: VecDeque<Sent>,
    /// The reader has delivered every row.
    is_end_of_file: bool,
    /// Since when no connection has delivered a result.
    broken_since: Option<Instant>,
    /// The current outage was reported.
    is_outage_reported: bool,
}

impl Transfer<'_> {
    async fn run(mut self) -> Result<(), Failure> {
        let mut backoff = Backoff::new();
        loop {
            // Do not connect before there is a row to send.
            while self.unsent.is_empty() && !self.is_end_of_file {
                let row = self.rows.recv().await;
                self.take(row)?;
            }
            if self.unsent.is_empty() {
                return Ok(());
            }
            let Err(failure) = self.stream().await else { return Ok(()) };
            let since = *self.broken_since.get_or_insert_with(|| {
                backoff.reset();
                Instant::now()
            });
            if !failure.is_retryable || since.elapsed() >= self.client.timeout {
                return Err(failure);
            }
            // Report an outage once, not every attempt.
            if !std::mem::replace(&mut self.is_outage_reported, true) {
                self.report.note(&format!("{}; retrying", plain(&failure.refusal.message)));
            }
            tokio::time::sleep(backoff.next(failure.retry_after)).await;
        }
    }

    /// Handles an item from the reader: a row to send, a bad row, or the end.
    fn take(&mut self, row: Option<Result<Row, Failure>>) -> Result<(), Failure> {
        match row.transpose()? {
            None => self.is_end_of_file = true,
            Some(Row { location, content: Err(bad) }) => self.report.bad(location, bad),
            Some(Row { location, content: Ok(mut request) }) => {
                if request.request_id.as_deref().unwrap_or_default().is_empty() {
                    request.request_id = Some(random_request_id());
                }
                self.unsent.push_back(Sent { location, request });
            }
        }
        Ok(())
    }

    /// Runs one stream until every row has a result or the stream breaks. Then
    /// the rows without a result are queued to be sent again with the same
    /// `request_id`.
    async fn stream(&mut self) -> Result<(), Failure> {
        let mut waiting = BTreeMap::new();
        let outcome = self.exchange(&mut waiting).await;
        let mut resend: VecDeque<Sent> = waiting.into_values().collect();
        resend.append(&mut self.unsent);
        self.unsent = resend;
        outcome
    }

    async fn exchange(&mut self, waiting: &mut BTreeMap<i64, Sent>) -> Result<(), Failure> {
        let (sender, outgoing) = mpsc::channel(OUTGOING);
        let mut sender = Some(sender);
        let mut grpc = self.client.grpc();
        let request = self.client.request(ReceiverStream::new(outgoing));
        let results = async move { grpc.import_orders(request).await.map(Response::into_inner) };
        let mut results = pin!(results.try_flatten_stream());
        let mut index = 0;
        let mut last_heard = Instant::now();
        loop {
            if self.is_end_of_file && self.unsent.is_empty() {
                if waiting.is_empty() {
                    return Ok(());
                }
                sender = None;
            }
            let silence = tokio::time::sleep_until((last_heard + self.client.timeout).into());
            tokio::select! {
                result = results.next() => match result {
                    Some(Ok(result)) => {
                        last_heard = Instant::now();
                        self.broken_since = None;
                        self.is_outage_reported = false;
                        if let Some(Sent { location, .. }) = waiting.remove(&result.index) {
                            self.report.result(location, result);
                        }
                    }
                    Some(Err(status)) => return Err(self.client.failure(&status)),
                    None => return Err(self.client.stream_ended()),
                },
                permit = reserve(sender.clone()), if sender.is_some() && !self.unsent.is_empty() => {
                    let Some(permit) = permit else {
                        // The connection is gone; the results end with the error.
                        sender = None;
                        continue;
                    };
                    if let Some(sent) = self.unsent.pop_front() {
                        if waiting.is_empty() {
                            last_heard = Instant::now();
                        }
                        permit.send(ImportOrdersRequest { order: Some(sent.request.clone()) });
                        waiting.insert(index, sent);
                        index += 1;
                    }
                }
                row = self.rows.recv(),
                    if !self.is_end_of_file && self.unsent.is_empty() && waiting.len() < WINDOW => self.take(row)?,
                () = silence, if !waiting.is_empty() => {
                    return Err(self.client.no_response());
                }
            }
        }
    }
}

/// Reserves a place in the outgoing channel. Returns `None` if the receiver is
/// gone.
async fn reserve(
    sender: Option<mpsc::Sender<ImportOrdersRequest>>,
) -> Option<mpsc::OwnedPermit<ImportOrdersRequest>> {
    sender?.reserve_owned().await.ok()
}
