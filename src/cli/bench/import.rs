//! The stream of the import, as a measurement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::load::{Load, Pace};
use super::measured::Measured;
use crate::cli::client::{Client, Failure};
use crate::proto::v1::{AcceptOrderRequest, ImportOrdersRequest, Refusal, order_result};

/// The rows of one stream that are on their way: since when each is.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    free: Arc<Semaphore>,
    sent: Arc<Mutex<HashMap<i64, Instant>>>,
}

impl Rows {
    /// At most so many at once.
    pub(super) fn new(window: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(window)), sent: Arc::default() }
    }
}

/// Sends rows until there are no more, and takes every answer: when its row
/// was sent, and its refusal.
pub(super) async fn stream(
    client: &Client,
    rows: &Rows,
    mut more: impl FnMut() -> Option<AcceptOrderRequest>,
    mut answered: impl FnMut(Instant, Option<Refusal>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |status| Failure::from_status(&client.server, &status);
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    let send = async move {
        for index in 0.. {
            let Ok(permit) = rows.free.acquire().await else { break };
            permit.forget();
            let Some(order) = more() else { break };
            rows.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(index, Instant::now());
            if sender.send(ImportOrdersRequest { order: Some(order) }).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let receive = async {
        let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut answers =
            client.grpc().import_orders(client.request(requests)).await.map_err(failed)?.into_inner();
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(failed)?;
            rows.free.add_permits(1);
            let since = rows.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.index);
            let outcome = answer.result.and_then(|result| result.outcome);
            let refusal = match outcome {
                Some(order_result::Outcome::Refusal(refusal)) => Some(refusal),
                _ => None,
            };
            answered(since.unwrap_or_else(Instant::now), refusal)?;
        }
        Ok(())
    };
    // A stream that breaks ends the sending as well.
    futures::future::try_join(send, receive).await.map(|((), ())| ())
}

/// Imports over a stream on each connection.
pub(super) async fn run(load: Load, clients: Vec<Client>) -> Measured {
    let began = Instant::now();
    let window = match load.pace {
        Pace::InFlight(window) => window,
        Pace::Rate(_) => 1,
    };
    let (warm_up, duration) = (load.warm_up, load.duration);
    let (measuring, end) = (began + warm_up, began + warm_up + duration);
    let mut running = JoinSet::new();
    for client in clients {
        let (work, stop) = (Arc::clone(&load.work), load.stop.clone());
        running.spawn(async move {
            let mut measured = Measured::new();
            let more = || (Instant::now() < end && !stop.is_cancelled()).then(|| work.row());
            let rows = Rows::new(window);
            let outcome = stream(&client, &rows, more, |since, refusal| {
                match refusal {
                    _ if since < measuring => {}
                    None => measured.answered(since.elapsed(), 1),
                    Some(refusal) => measured.error(&refusal.reason),
                }
                Ok(())
            });
            if let Err(failure) = outcome.await {
                measured.error(&failure.refusal().reason);
                measured.ended = Some(failure.refusal().message.clone());
                measured.is_gone = true;
            } else if stop.is_cancelled() {
                measured.ended = Some("interrupted".to_owned());
            }
            measured
        });
    }
    let mut all = Measured::new();
    while let Some(measured) = running.join_next().await {
        match measured {
            Ok(measured) => all.add(measured),
            Err(error) => all.ended = Some(error.to_string()),
        }
    }
    all.took = began.elapsed().saturating_sub(warm_up).max(Duration::from_millis(1));
    all
}
