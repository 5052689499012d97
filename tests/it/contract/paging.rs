//! Paging under concurrent writes (T19, AIP-158): a traversal returns each order that matches and does
//! not change exactly once, for any page sizes and replicas.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use pvz::adapters::null::NullCache;
use pvz::app::{CachedOrders, ListOrders, ListReturns, OrderPage, PageSpec, PageTokens, ReadOrders};
use pvz::domain::{Order, StateName};
use pvz::ports::OrderStore;

use super::fixtures::{
    StoreFixture, accepted, accepting, customer, handed_over, issued, memory, moving, point, returned,
    sqlite, write,
};
use crate::support::time::TestClock;

/// Traversals on each of the three stores: 2,000 in all.
const TRAVERSALS: usize = 667;
/// Orders that do not change. Many share an instant, so that page boundaries fall between equal
/// instants.
const STABLE: i64 = 90;
/// The maximum number of orders written during the traversals.
const MAX_CONCURRENT: usize = 150;

/// A random number generator with a printed seed.
struct SeededRng(TestRng);

impl SeededRng {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// Returns a number from 0 to `limit - 1`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0.next_u64() % limit
    }
}

/// Writes orders of three customers, two points and every state, which do not change later.
async fn write_stable_orders(store: &dyn OrderStore) -> Vec<Order> {
    let mut stable = Vec::new();
    for number in 0..STABLE {
        let mut order = accepted(&format!("stable-{number}"), number / 4);
        order.customer_id = customer(["anna", "boris", "clara"][usize::try_from(number % 3).unwrap()]);
        order.pickup_point_id = point(["main", "other"][usize::try_from(number % 2).unwrap()]);
        write(store, accepting(std::slice::from_ref(&order))).await.unwrap();
        let through = match number % 5 {
            0 | 1 => vec![],
            2 => vec![issued(&order, 50)],
            _ => {
                let second = issued(&order, 50);
                vec![second.clone(), returned(&second, 60 + number / 4)]
            }
        };
        if !through.is_empty() {
            write(store, moving(&order, &through)).await.unwrap();
        }
        stable.push(through.last().unwrap_or(&order).clone());
    }
    stable
}

/// A writer of further orders: it accepts orders with the instants of stable ones and changes them.
#[derive(Default)]
struct ConcurrentWriter(Vec<Order>);

impl ConcurrentWriter {
    /// Accepts a new order, or moves one to its next state.
    async fn step(&mut self, store: &dyn OrderStore, accept_new: bool, which: usize) {
        if (accept_new || self.0.is_empty()) && self.0.len() < MAX_CONCURRENT {
            let number = self.0.len();
            let order = accepted(&format!("s-{number}"), i64::try_from(number % 25).unwrap());
            write(store, accepting(std::slice::from_ref(&order))).await.unwrap();
            return self.0.push(order);
        }
        let index = which % self.0.len();
        let order = &mut self.0[index];
        let returned_at = 60 + i64::try_from(index % 25).unwrap();
        let next = match order.state_name() {
            StateName::Stored => issued(order, 50),
            StateName::Issued => returned(order, returned_at),
            StateName::Returned => handed_over(order, 100),
            StateName::HandedToCourier => return,
        };
        write(store, moving(order, std::slice::from_ref(&next))).await.unwrap();
        *order = next;
    }
}

/// A list to traverse.
enum List {
    Orders(ListOrders),
    Returns(ListReturns),
}

fn random_list(rng: &mut SeededRng) -> List {
    let pickup_point_id = match rng.below(3) {
        0 => Some(point("main")),
        1 => Some(point("other")),
        _ => None,
    };
    let page = PageSpec::Page { limit: 1, token: String::new() };
    if rng.below(3) == 0 {
        return List::Returns(ListReturns { pickup_point_id, page });
    }
    let states: BTreeSet<StateName> = StateName::ALL.into_iter().filter(|_| rng.below(3) == 0).collect();
    let customer_id =
        ["anna", "boris", "clara"].get(usize::try_from(rng.below(6)).unwrap()).map(|name| customer(name));
    let expired = [None, None, Some(true), Some(false)][usize::try_from(rng.below(4)).unwrap()];
    List::Orders(ListOrders { customer_id, pickup_point_id, states, expired, page })
}

impl List {
    fn contains(&self, order: &Order, now: pvz::domain::Timestamp) -> bool {
        match self {
            Self::Returns(list) => {
                order.state_name() == StateName::Returned
                    && list.pickup_point_id.as_ref().is_none_or(|id| order.pickup_point_id == *id)
            }
            Self::Orders(list) => {
                list.customer_id.as_ref().is_none_or(|id| order.customer_id == *id)
                    && list.pickup_point_id.as_ref().is_none_or(|id| order.pickup_point_id == *id)
                    && (list.states.is_empty() || list.states.contains(&order.state_name()))
                    && list.expired.is_none_or(|expired| order.is_expired(now) == expired)
            }
        }
    }

    async fn page(&mut self, reader: &ReadOrders, limit: usize, token: String) -> OrderPage {
        let page = PageSpec::Page { limit, token };
        match self {
            Self::Orders(list) => {
                list.page = page;
                reader.list(list).await.unwrap()
            }
            Self::Returns(list) => {
                list.page = page;
                reader.returns(list).await.unwrap()
            }
        }
    }
}

/// Traverses lists during writes. Each page is read from the next replica.
async fn traverse(stores: &[Arc<dyn OrderStore>]) {
    let seed = std::env::var("PVZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(TRAVERSALS));
    println!("contract::paging: {TRAVERSALS} traversals from seed {seed}, replay with PVZ_SEED={seed}");
    let mut rng = SeededRng::new(seed);
    let stable = write_stable_orders(&*stores[0]).await;
    let clock = Arc::new(TestClock::default());
    let reader = |store: &Arc<dyn OrderStore>| {
        let single = CachedOrders::new(Arc::new(NullCache), Arc::clone(store));
        ReadOrders::new(single, Arc::clone(store), clock.clone(), PageTokens::new([7; 32]))
    };
    let readers: Vec<ReadOrders> = stores.iter().map(reader).collect();
    let mut writer = ConcurrentWriter::default();
    // `expired` is evaluated at the instant of the first page; the test clock does not advance.
    let now = pvz::ports::Clock::now(&*clock);
    for traversal in 0..TRAVERSALS {
        let mut list = random_list(&mut rng);
        let mut shown: Vec<String> = Vec::new();
        let mut token = String::new();
        for page in traversal.. {
            let limit = 1 + usize::try_from(rng.below(40)).unwrap();
            let (accept_new, which) = (rng.below(4) == 0, usize::try_from(rng.below(1 << 20)).unwrap());
            let store = &*stores[(page + 1) % stores.len()];
            // The write runs while the page is read.
            let (answer, ()) = tokio::join!(
                list.page(&readers[page % readers.len()], limit, token),
                writer.step(store, accept_new, which),
            );
            assert!(answer.orders.len() <= limit);
            shown.extend(answer.orders.iter().map(|view| view.order.order_id.to_string()));
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let expected: BTreeSet<String> = stable
            .iter()
            .filter(|order| list.contains(order, now))
            .map(|order| order.order_id.to_string())
            .collect();
        let listed: Vec<&String> = shown.iter().filter(|order_id| order_id.starts_with("stable")).collect();
        assert_eq!(listed.len(), expected.len(), "traversal {traversal} of seed {seed}: {listed:?}");
        assert!(listed.into_iter().all(|order_id| expected.contains(order_id)), "traversal {traversal}");
        let once: BTreeSet<&String> = shown.iter().collect();
        assert_eq!(
            once.len(),
            shown.len(),
            "traversal {traversal} of seed {seed}: no order is returned twice"
        );
    }
    assert!(writer.0.len() > 50, "too few concurrent writes");
}

async fn traverse_one(fixture: StoreFixture) {
    traverse(std::slice::from_ref(&fixture.orders)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stable_orders_are_returned_once_in_memory() {
    traverse_one(memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stable_orders_are_returned_once_in_sqlite() {
    traverse_one(sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stable_orders_are_returned_once_in_postgres_from_two_replicas() {
    let (one, database) = crate::postgres::cluster::store().await;
    let other: Arc<dyn OrderStore> = Arc::new(database.open().await);
    let stores = [one as Arc<dyn OrderStore>, other];
    traverse(&stores).await;
}
