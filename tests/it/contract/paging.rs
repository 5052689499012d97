//! Pages while others write (T19, AIP-158): whatever stays as it is, and
//! matches, is seen exactly once in a traversal, however the pages are cut and
//! whichever replica answers them.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use proptest::test_runner::{RngAlgorithm, TestRng};
use pvz::app::{ListOrders, ListReturns, OrderPage, PageSpec, PageTokens, ReadOrders};
use pvz::domain::{Order, StateName};
use pvz::ports::OrderStore;
use rand_of_tests::Dice;

use super::given::{
    Given, accepted, accepting, customer, handed_over, issued, memory, moving, point, returned, sqlite, write,
};
use crate::support::time::TestClock;

/// Traversals on each of the three stores: 2,000 in all.
const TRAVERSALS: usize = 667;
/// Orders that nobody touches. Many share an instant, so that page boundaries
/// fall between equal ones.
const STABLE: i64 = 90;
/// The most orders that come meanwhile.
const MOST_OTHERS: usize = 150;

mod rand_of_tests {
    use super::{RngAlgorithm, TestRng};
    use proptest::prelude::Rng as _;

    /// Small numbers of a seed that is printed.
    pub struct Dice(TestRng);

    impl Dice {
        pub fn new(seed: u64) -> Self {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
        }

        /// From 0 to one less than that.
        pub fn below(&mut self, limit: u64) -> u64 {
            self.0.next_u64() % limit
        }
    }
}

/// Orders of three customers, two points and every state, which stay.
async fn settle(store: &dyn OrderStore) -> Vec<Order> {
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

/// Orders that come, tie with those that stay, and move on.
#[derive(Default)]
struct Disturbance(Vec<Order>);

impl Disturbance {
    /// Accepts an order or moves one on.
    async fn step(&mut self, store: &dyn OrderStore, come: bool, which: usize) {
        if (come || self.0.is_empty()) && self.0.len() < MOST_OTHERS {
            let number = self.0.len();
            let order = accepted(&format!("s-{number}"), i64::try_from(number % 25).unwrap());
            write(store, accepting(std::slice::from_ref(&order))).await.unwrap();
            return self.0.push(order);
        }
        let index = which % self.0.len();
        let order = &mut self.0[index];
        let back = 60 + i64::try_from(index % 25).unwrap();
        let next = match order.state_name() {
            StateName::Stored => issued(order, 50),
            StateName::Issued => returned(order, back),
            StateName::Returned => handed_over(order, 100),
            StateName::HandedToCourier => return,
        };
        write(store, moving(order, std::slice::from_ref(&next))).await.unwrap();
        *order = next;
    }
}

/// A list to go through, by a roll of the dice: which, and what of the orders
/// that stay it must show.
enum List {
    Orders(ListOrders),
    Returns(ListReturns),
}

fn a_list(dice: &mut Dice) -> List {
    let place = match dice.below(3) {
        0 => Some(point("main")),
        1 => Some(point("other")),
        _ => None,
    };
    let page = PageSpec::Page { limit: 1, token: String::new() };
    if dice.below(3) == 0 {
        return List::Returns(ListReturns { pickup_point_id: place, page });
    }
    let states: BTreeSet<StateName> = StateName::ALL.into_iter().filter(|_| dice.below(3) == 0).collect();
    let who =
        ["anna", "boris", "clara"].get(usize::try_from(dice.below(6)).unwrap()).map(|name| customer(name));
    let expired = [None, None, Some(true), Some(false)][usize::try_from(dice.below(4)).unwrap()];
    List::Orders(ListOrders { customer_id: who, pickup_point_id: place, states, expired, page })
}

impl List {
    fn shows(&self, order: &Order, now: pvz::domain::Timestamp) -> bool {
        match self {
            Self::Returns(list) => {
                order.state_name() == StateName::Returned
                    && list.pickup_point_id.as_ref().is_none_or(|place| order.pickup_point_id == *place)
            }
            Self::Orders(list) => {
                list.customer_id.as_ref().is_none_or(|who| order.customer_id == *who)
                    && list.pickup_point_id.as_ref().is_none_or(|place| order.pickup_point_id == *place)
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

/// Goes through lists while orders are written, each page by the next replica.
async fn traverse(stores: &[Arc<dyn OrderStore>]) {
    let seed = std::env::var("PVZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(TRAVERSALS));
    println!("contract::paging: {TRAVERSALS} traversals from seed {seed}, replay with PVZ_SEED={seed}");
    let mut dice = Dice::new(seed);
    let stable = settle(&*stores[0]).await;
    let clock = Arc::new(TestClock::default());
    let reader = |store: &Arc<dyn OrderStore>| {
        ReadOrders::new(Arc::clone(store), clock.clone(), PageTokens::new([7; 32]))
    };
    let readers: Vec<ReadOrders> = stores.iter().map(reader).collect();
    let mut others = Disturbance::default();
    // What is expired is so at the first page's now, which is the clock's.
    let now = pvz::ports::Clock::now(&*clock);
    for traversal in 0..TRAVERSALS {
        let mut list = a_list(&mut dice);
        let mut shown: Vec<String> = Vec::new();
        let mut token = String::new();
        for page in traversal.. {
            let limit = 1 + usize::try_from(dice.below(40)).unwrap();
            let (come, which) = (dice.below(4) == 0, usize::try_from(dice.below(1 << 20)).unwrap());
            let store = &*stores[(page + 1) % stores.len()];
            // While the page is read.
            let (answer, ()) = tokio::join!(
                list.page(&readers[page % readers.len()], limit, token),
                others.step(store, come, which),
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
            .filter(|order| list.shows(order, now))
            .map(|order| order.order_id.to_string())
            .collect();
        let stayed: Vec<&String> = shown.iter().filter(|order_id| order_id.starts_with("stable")).collect();
        assert_eq!(stayed.len(), expected.len(), "traversal {traversal} of seed {seed}: {stayed:?}");
        assert!(stayed.into_iter().all(|order_id| expected.contains(order_id)), "traversal {traversal}");
        let once: BTreeSet<&String> = shown.iter().collect();
        assert_eq!(once.len(), shown.len(), "traversal {traversal} of seed {seed}: nothing is seen twice");
    }
    assert!(others.0.len() > 50, "hardly anything was written meanwhile");
}

async fn on(given: Given) {
    traverse(std::slice::from_ref(&given.orders)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_is_seen_once_in_memory() {
    on(memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_is_seen_once_in_sqlite() {
    on(sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_is_seen_once_in_postgres_whichever_replica_answers() {
    let (one, database) = crate::postgres::cluster::store().await;
    let other: Arc<dyn OrderStore> = Arc::new(database.open().await);
    let stores = [one as Arc<dyn OrderStore>, other];
    traverse(&stores).await;
}
