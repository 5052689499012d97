//! One import stream: sends rows and receives their results.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt as _;
use tokio::sync::Semaphore;

use super::connection::Connection;
use super::error::BenchError;
use crate::proto::v1::{AcceptOrderRequest, ImportOrdersRequest, Refusal, order_result};

/// The rows of one stream that have no result yet, with the time at which each
/// was sent.
#[derive(Debug, Clone)]
pub(super) struct RowsInFlight {
    free: Arc<Semaphore>,
    sent: Arc<Mutex<HashMap<i64, Instant>>>,
}

impl RowsInFlight {
    /// Allows `limit` rows at a time.
    pub(super) fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), sent: Arc::default() }
    }
}

/// Sends the rows that `next_row` returns until it returns `None`, and passes
/// each result to `on_result`: the time at which the row was sent, and the
/// refusal if there is one.
pub(super) async fn import_rows(
    connection: &Connection,
    in_flight: &RowsInFlight,
    mut next_row: impl FnMut() -> Option<AcceptOrderRequest>,
    mut on_result: impl FnMut(Instant, Option<Refusal>) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let failed = |status| connection.failed(status);
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    let send = async move {
        for index in 0.. {
            let Ok(permit) = in_flight.free.acquire().await else { break };
            permit.forget();
            let Some(order) = next_row() else { break };
            in_flight.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(index, Instant::now());
            if sender.send(ImportOrdersRequest { order: Some(order) }).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let receive = async {
        let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let request = connection.request(requests);
        let mut results = connection.grpc().import_orders(request).await.map_err(failed)?.into_inner();
        while let Some(received) = results.next().await {
            let response = received.map_err(failed)?;
            in_flight.free.add_permits(1);
            let sent_at =
                in_flight.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&response.index);
            let refusal = match response.result.and_then(|result| result.outcome) {
                Some(order_result::Outcome::Refusal(refusal)) => Some(refusal),
                _ => None,
            };
            on_result(sent_at.unwrap_or_else(Instant::now), refusal)?;
        }
        Ok(())
    };
    // A broken stream ends the sending too.
    futures::future::try_join(send, receive).await.map(|((), ())| ())
}
