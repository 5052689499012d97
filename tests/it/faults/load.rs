//! A mixed load of all commands that records every reply, and the check of the
//! store against the replies (`docs/reliability.md`, The oracle: a, b, c, e, f).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::{StreamExt as _, stream};
use pvz::proto::v1::{self, BatchMode};
use tokio::task::JoinSet;
use tonic::Status;

use super::requests::{CommandReply, CommandRequest, events, parcel};
use super::test_service::{Client, TestService};

/// Concurrent clients, each with its own connection.
const CLIENTS: usize = 8;
/// Orders of a load; few enough that clients use the same ones.
const ORDERS: u64 = 400;

/// A request and its reply, or the error of a call without a reply.
pub type Exchange = (CommandRequest, Result<CommandReply, Status>);

/// A running load.
pub struct Load {
    clients: JoinSet<Vec<Exchange>>,
    stop: Arc<AtomicBool>,
    replies: Arc<AtomicUsize>,
}

impl Load {
    /// Starts a load. A seed determines the requests; different seeds use different
    /// orders and keys.
    pub async fn start(service: &TestService, seed: u64) -> Self {
        let (stop, replies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = service.client().await;
            let (stop, replies) = (Arc::clone(&stop), Arc::clone(&replies));
            let mut generator = RequestGenerator(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
            clients.spawn(async move {
                let mut exchanges = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let request = generator.command(&format!("{seed}-{number}-{}", exchanges.len()), seed);
                    let reply = request.send(&client).await;
                    replies.fetch_add(1, Ordering::Relaxed);
                    let disconnected = reply.is_err();
                    exchanges.push((request, reply));
                    if disconnected {
                        break;
                    }
                }
                exchanges
            });
        }
        Self { clients, stop, replies }
    }

    /// Returns the number of calls that have ended.
    pub fn reply_count(&self) -> usize {
        self.replies.load(Ordering::Relaxed)
    }

    /// Stops the load after the current calls, and returns all requests with their
    /// replies.
    pub async fn finish(self) -> Vec<Exchange> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

/// Generates requests with the splitmix64 generator.
struct RequestGenerator(u64);

impl RequestGenerator {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// Returns an order id and its customer id.
    fn order(&mut self, seed: u64) -> (String, String) {
        let order = self.below(ORDERS);
        (format!("o{seed}-{order}"), format!("c{}", order % 20))
    }

    fn ids(&mut self, seed: u64) -> Vec<String> {
        let mut ids: Vec<String> = (0..=self.below(4)).map(|_| self.order(seed).0).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    fn mode(&mut self) -> i32 {
        [BatchMode::Atomic, BatchMode::Partial][usize::from(self.below(2) == 0)].into()
    }

    fn command(&mut self, request_id: &str, seed: u64) -> CommandRequest {
        let request_id = Some(request_id.to_owned());
        let (order_id, customer_id) = self.order(seed);
        match self.below(10) {
            0..4 => CommandRequest::Accept(v1::AcceptOrderRequest {
                request_id,
                ..parcel(&order_id, &customer_id)
            }),
            4 => CommandRequest::Import(v1::AcceptOrderRequest {
                request_id,
                ..parcel(&order_id, &customer_id)
            }),
            5 | 6 => CommandRequest::Issue(v1::IssueOrdersRequest {
                order_ids: self.ids(seed),
                mode: self.mode(),
                request_id,
                ..v1::IssueOrdersRequest::default()
            }),
            7 | 8 => CommandRequest::AcceptReturn(v1::AcceptReturnRequest {
                order_id,
                customer_id,
                request_id,
                ..v1::AcceptReturnRequest::default()
            }),
            _ => CommandRequest::ReturnToCourier(v1::ReturnToCourierRequest {
                order_ids: self.ids(seed),
                mode: self.mode(),
                request_id,
                ..v1::ReturnToCourierRequest::default()
            }),
        }
    }
}

/// Sends every request again, and checks that a stored result is returned again
/// and that the events of each request are those of its result: all of them or
/// none.
pub async fn assert_replies_are_durable(client: &Client, exchanges: &[Exchange]) {
    let before = events(client).await;
    let again = stream::iter(exchanges).map(|(request, reply)| async move {
        let again = request.send(client).await.unwrap();
        (request, reply.as_ref().ok().filter(|reply| reply.is_stored()), again)
    });
    let replies: Vec<_> = again.buffered(64).collect().await;
    let mut by_key: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let after = events(client).await;
    assert_eq!(after[..before.len()], before, "stored events do not change");
    for event in &after {
        let order_id = event.order.as_ref().unwrap().order_id.clone();
        by_key.entry(event.request_id()).or_default().push(order_id);
    }
    for (request, first, again) in replies {
        if let Some(first) = first {
            assert_eq!(first.result, again.result, "{request:?}");
            assert!(again.replayed || matches!(request, CommandRequest::Import(_)), "{request:?}: {again:?}");
        }
        let mut changed = again.changed_orders();
        changed.sort_unstable();
        let mut found = by_key.remove(request.request_id()).unwrap_or_default();
        found.sort_unstable();
        assert_eq!(found, changed, "{request:?}: {again:?}");
    }
}
