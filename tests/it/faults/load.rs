//! A mixed load of all commands, each with its key, that remembers what it was
//! told; and the oracle that holds the store against it (`docs/reliability.md`, The
//! oracle: a, b, c, e, f).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::{StreamExt as _, stream};
use pvz::proto::v1::{self, BatchMode};
use tokio::task::JoinSet;
use tonic::Status;

use super::asks::{Ask, Heard, events, parcel};
use super::service::{Client, Service};

/// Clients at once, each with a connection of its own.
const CLIENTS: usize = 8;
/// Orders of a round; small enough that clients meet on the same ones.
const ORDERS: u64 = 400;

/// What a command was told; nothing is known when the connection broke.
pub type Told = (Ask, Result<Heard, Status>);

/// A load that runs.
pub struct Load {
    clients: JoinSet<Vec<Told>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Load {
    /// Begins a load. The same seed asks for the same, with keys that no other
    /// round has.
    pub async fn start(service: &Service, seed: u64) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = service.client().await;
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
            clients.spawn(async move {
                let mut told = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let ask = dice.ask(&format!("{seed}-{number}-{}", told.len()), seed);
                    let heard = ask.send(&client).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                    let gone = heard.is_err();
                    told.push((ask, heard));
                    if gone {
                        break;
                    }
                }
                told
            });
        }
        Self { clients, stop, answered }
    }

    /// How many answers there were so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until every client has met the end of its server, or has been told
    /// so by an answer, and says what they were told.
    pub async fn end(self) -> Vec<Told> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

/// A splitmix64 generator: small, seeded, and good enough.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// An order and its customer.
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

    fn ask(&mut self, request_id: &str, seed: u64) -> Ask {
        let request_id = Some(request_id.to_owned());
        let (order_id, customer_id) = self.order(seed);
        match self.below(10) {
            0..4 => Ask::Accept(v1::AcceptOrderRequest { request_id, ..parcel(&order_id, &customer_id) }),
            4 => Ask::Import(v1::AcceptOrderRequest { request_id, ..parcel(&order_id, &customer_id) }),
            5 | 6 => Ask::Issue(v1::IssueOrdersRequest {
                order_ids: self.ids(seed),
                mode: self.mode(),
                request_id,
                ..v1::IssueOrdersRequest::default()
            }),
            7 | 8 => Ask::Return(v1::AcceptReturnRequest {
                order_id,
                customer_id,
                request_id,
                ..v1::AcceptReturnRequest::default()
            }),
            _ => Ask::Courier(v1::ReturnToCourierRequest {
                order_ids: self.ids(seed),
                mode: self.mode(),
                request_id,
                ..v1::ReturnToCourierRequest::default()
            }),
        }
    }
}

/// Every command that was told something has the same answer under its key now,
/// and exactly the events that it says; one that was told nothing has all its
/// events or none, as its key says now.
pub async fn assert_remembered(client: &Client, told: &[Told]) {
    let before = events(client).await;
    let again = stream::iter(told).map(|(ask, heard)| async move {
        let again = ask.send(client).await.unwrap();
        (ask, heard.as_ref().ok().filter(|heard| heard.is_kept()), again)
    });
    let answers: Vec<_> = again.buffered(64).collect().await;
    let mut by_key: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let after = events(client).await;
    assert_eq!(after[..before.len()], before, "history does not change");
    for event in &after {
        let order_id = event.order.as_ref().unwrap().order_id.clone();
        by_key.entry(event.request_id()).or_default().push(order_id);
    }
    for (ask, first, again) in answers {
        if let Some(first) = first {
            assert_eq!(first.answer, again.answer, "{ask:?}");
            assert!(again.replayed || matches!(ask, Ask::Import(_)), "{ask:?}: {again:?}");
        }
        let mut changed = again.changed();
        changed.sort_unstable();
        let mut found = by_key.remove(ask.request_id()).unwrap_or_default();
        found.sort_unstable();
        assert_eq!(found, changed, "{ask:?}: {again:?}");
    }
}
