//! The stream to the server: sends rows, takes their results in whatever order
//! they come, and begins again when the connection breaks.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::time::Instant;

use futures::{StreamExt as _, TryFutureExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Response;

use super::report::Report;
use super::row::{Row, RowLocation};
use crate::cli::client::{Backoff, Client, Failure, Stop, fresh_request_id, plain};
use crate::proto::v1::{AcceptOrderRequest, ImportOrdersRequest};

/// How many rows may be without an answer.
const WINDOW: usize = 1_024;
/// How many rows wait to be written to the connection.
const OUTGOING: usize = 64;

/// Sends every row and reports its result.
///
/// # Errors
/// The import could not finish: the file cannot be read, the server refuses
/// the stream, or gives no answer within the timeout; or the results cannot be
/// printed.
pub(super) async fn run(
    client: &Client,
    rows: mpsc::Receiver<Result<Row, Failure>>,
    report: &mut Report,
) -> Result<(), Stop> {
    let transfer = Transfer {
        client,
        rows,
        report,
        unsent: VecDeque::new(),
        is_read: false,
        broken: None,
        is_told: false,
    };
    tokio::select! {
        outcome = transfer.run() => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::usage("interrupted").into()),
    }
}

/// A row on its way.
struct Sent {
    location: RowLocation,
    request: AcceptOrderRequest,
}

struct Transfer<'a> {
    client: &'a Client,
    rows: mpsc::Receiver<Result<Row, Failure>>,
    report: &'a mut Report,
    /// Rows to be sent, those of a broken connection first.
    unsent: VecDeque<Sent>,
    /// The file is at its end.
    is_read: bool,
    /// Since when every connection broke before it brought an answer.
    broken: Option<Instant>,
    /// The person knows that it broke.
    is_told: bool,
}

impl Transfer<'_> {
    async fn run(mut self) -> Result<(), Stop> {
        let mut backoff = Backoff::new();
        loop {
            // Nothing to send is no reason to connect.
            while self.unsent.is_empty() && !self.is_read {
                let row = self.rows.recv().await;
                self.take(row)?;
            }
            if self.unsent.is_empty() {
                return Ok(());
            }
            let Err(failure) = self.stream().await? else { return Ok(()) };
            let since = *self.broken.get_or_insert_with(|| {
                backoff.reset();
                Instant::now()
            });
            if !failure.is_retryable() || since.elapsed() >= self.client.timeout {
                return Err(failure.into());
            }
            // Once for each time that it breaks, however often it is tried.
            if !std::mem::replace(&mut self.is_told, true) {
                self.report.note(&format!("{}; trying again", plain(&failure.refusal().message)));
            }
            tokio::time::sleep(backoff.next(failure.retry_after)).await;
        }
    }

    /// Takes what the reader found: a row to send, a bad one, or the end.
    fn take(&mut self, row: Option<Result<Row, Failure>>) -> Result<(), Stop> {
        match row.transpose()? {
            None => self.is_read = true,
            Some(Row { location, content: Err(bad) }) => self.report.bad(location, bad)?,
            Some(Row { location, content: Ok(mut request) }) => {
                if request.request_id.as_deref().unwrap_or_default().is_empty() {
                    request.request_id = Some(fresh_request_id());
                }
                self.unsent.push_back(Sent { location, request });
            }
        }
        Ok(())
    }

    /// One connection: ends when every row is answered, or with why it broke.
    /// Rows without an answer are to be sent again then, with the same keys.
    async fn stream(&mut self) -> Result<Result<(), Failure>, Stop> {
        let mut waiting = BTreeMap::new();
        let outcome = self.exchange(&mut waiting).await;
        let mut again: VecDeque<Sent> = waiting.into_values().collect();
        again.append(&mut self.unsent);
        self.unsent = again;
        outcome
    }

    async fn exchange(&mut self, waiting: &mut BTreeMap<i64, Sent>) -> Result<Result<(), Failure>, Stop> {
        let (sender, outgoing) = mpsc::channel(OUTGOING);
        let mut sender = Some(sender);
        let mut grpc = self.client.grpc();
        let request = self.client.request(ReceiverStream::new(outgoing));
        let answers = async move { grpc.import_orders(request).await.map(Response::into_inner) };
        let mut answers = pin!(answers.try_flatten_stream());
        let mut index = 0;
        let mut heard = Instant::now();
        loop {
            if self.is_read && self.unsent.is_empty() {
                if waiting.is_empty() {
                    return Ok(Ok(()));
                }
                sender = None;
            }
            let silence = tokio::time::sleep_until((heard + self.client.timeout).into());
            tokio::select! {
                answer = answers.next() => match answer {
                    Some(Ok(answer)) => {
                        heard = Instant::now();
                        self.broken = None;
                        self.is_told = false;
                        if let Some(Sent { location, .. }) = waiting.remove(&answer.index) {
                            self.report.answer(location, answer)?;
                        }
                    }
                    Some(Err(status)) => return Ok(Err(Failure::from_status(&self.client.server, &status))),
                    None => return Ok(Err(Failure::stream_ended(&self.client.server))),
                },
                permit = reserve(sender.clone()), if sender.is_some() && !self.unsent.is_empty() => {
                    let Some(permit) = permit else {
                        // The connection is gone; the answers will say why.
                        sender = None;
                        continue;
                    };
                    if let Some(sent) = self.unsent.pop_front() {
                        if waiting.is_empty() {
                            heard = Instant::now();
                        }
                        permit.send(ImportOrdersRequest { order: Some(sent.request.clone()) });
                        waiting.insert(index, sent);
                        index += 1;
                    }
                }
                row = self.rows.recv(),
                    if !self.is_read && self.unsent.is_empty() && waiting.len() < WINDOW => self.take(row)?,
                () = silence, if !waiting.is_empty() => {
                    return Ok(Err(Failure::deadline(&self.client.server, self.client.timeout)));
                }
            }
        }
    }
}

/// A location in the outgoing channel; `None` when nobody sends any more.
async fn reserve(
    sender: Option<mpsc::Sender<ImportOrdersRequest>>,
) -> Option<mpsc::OwnedPermit<ImportOrdersRequest>> {
    sender?.reserve_owned().await.ok()
}
