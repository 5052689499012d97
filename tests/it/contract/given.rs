//! What the suites say things with: orders, events, batches, and the stores to
//! say them to.

use std::collections::BTreeMap;
use std::sync::Arc;

use pvz::adapters::memory::MemoryStore;
use pvz::adapters::postgres::PostgresStore;
use pvz::adapters::sqlite::{SqliteOptions, SqliteStore};
use pvz::domain::{
    Actor, Answer, Currency, CustomerId, Event, EventId, EventType, Grams, Method, Money, Order, OrderId,
    OrderState, PackagingCode, PickupPointId, RequestId, ReturnedAt, Timestamp, Traceparent,
};
use pvz::ports::{
    Batch, BatchDecision, CommandResult, Decide, EventLog, IdempotencyKey, IdempotencyRecord, Inbox, Loaded,
    OrderStore, Outbox, Outcome, PortError, Writes,
};

/// An adapter under test, and what must live as long as it does.
#[derive(Clone)]
pub struct Given {
    pub orders: Arc<dyn OrderStore>,
    pub events: Arc<dyn EventLog>,
    pub outbox: Arc<dyn Outbox>,
    inbox: Arc<dyn Inbox>,
    _place: Arc<dyn std::any::Any + Send + Sync>,
}

impl Given {
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        self.outbox.clone()
    }

    pub fn inbox(&self) -> Arc<dyn Inbox> {
        self.inbox.clone()
    }
}

pub fn memory() -> Given {
    let store = Arc::new(MemoryStore::new([7; 32]));
    Given {
        orders: store.clone(),
        events: store.clone(),
        outbox: store.clone(),
        inbox: store,
        _place: Arc::new(()),
    }
}

pub fn sqlite() -> Given {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let store = Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).unwrap());
    Given {
        orders: store.clone(),
        events: store.clone(),
        outbox: store.clone(),
        inbox: store,
        _place: Arc::new(folder),
    }
}

pub async fn postgres() -> Given {
    let (store, database): (Arc<PostgresStore>, _) = crate::postgres::cluster::store().await;
    Given {
        orders: store.clone(),
        events: store.clone(),
        outbox: store.clone(),
        inbox: store,
        _place: Arc::new(database),
    }
}

/// Runs each case of a suite on every adapter of the order store, the log and
/// the outbox.
macro_rules! on_every_store {
    ($($case:ident,)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::contract::given::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::contract::given::sqlite()).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::contract::given::postgres().await).await; })*
        }
    };
}
pub(crate) use on_every_store;

pub fn id(text: &str) -> OrderId {
    OrderId::parse(text).unwrap()
}

pub fn customer(text: &str) -> CustomerId {
    CustomerId::parse(text).unwrap()
}

pub fn point(text: &str) -> PickupPointId {
    PickupPointId::parse(text).unwrap()
}

/// An instant, that many microseconds into the tests' day.
pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + micros).unwrap()
}

/// An order just accepted, stored until 1,000 µs into the day.
pub fn accepted(order_id: &str, accepted_at: i64) -> Order {
    Order {
        order_id: id(order_id),
        customer_id: customer("anna"),
        pickup_point_id: point("main"),
        state: OrderState::Stored,
        storage_until: at(1_000),
        accepted_at: at(accepted_at),
        weight: Grams::new(1_500).ok(),
        price: Money::price(19_990).unwrap(),
        surcharge: Money::price(2_100).unwrap(),
        currency: Currency::RUB,
        packaging: [PackagingCode::new("box"), PackagingCode::new("film")].into(),
        version: 1,
    }
}

pub fn issued(order: &Order, issued_at: i64) -> Order {
    next(order, OrderState::Issued { issued_at: at(issued_at) })
}

pub fn returned(order: &Order, returned_at: i64) -> Order {
    let issued_at = order.issued_at().unwrap();
    next(order, OrderState::Returned(ReturnedAt { issued_at, returned_at: at(returned_at) }))
}

pub fn handed_over(order: &Order, handed_at: i64) -> Order {
    let returned = match order.state {
        OrderState::Returned(at) => Some(at),
        _ => None,
    };
    next(order, OrderState::HandedToCourier { returned, handed_to_courier_at: at(handed_at) })
}

fn next(order: &Order, state: OrderState) -> Order {
    Order { state, version: order.version + 1, ..order.clone() }
}

/// The event that made the order what it is.
pub fn event(order: &Order) -> Event {
    let event_type = match order.state {
        OrderState::Stored => EventType::Accepted,
        OrderState::Issued { .. } => EventType::Issued,
        OrderState::Returned(_) => EventType::Returned,
        OrderState::HandedToCourier { .. } => EventType::HandedToCourier,
    };
    Event {
        event_id: event_id(order.order_id.as_str(), order.version),
        event_type,
        sequence: order.version,
        occurred_at: order.changed_at(),
        actor: Actor::anonymous(),
        request_id: RequestId::parse("a-request").ok(),
        // Every store keeps it, and keeps that there is none.
        traceparent: (order.version % 2 == 1).then(traceparent),
        order: order.clone(),
    }
}

/// A trace.
pub fn traceparent() -> Traceparent {
    Traceparent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap()
}

/// Unique for each event of each order: FNV-1a of both.
fn event_id(order_id: &str, version: i64) -> EventId {
    let bytes = order_id.bytes().chain(version.to_be_bytes());
    let hash = bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    EventId(hash)
}

pub fn key(request_id: &str) -> IdempotencyKey {
    IdempotencyKey { scope: String::new(), request_id: RequestId::parse(request_id).unwrap() }
}

pub fn record(answer: CommandResult, created_at: i64) -> IdempotencyRecord {
    let method = Method::AcceptReturn;
    let hashes = (0..method.fields().len()).map(|field| [u8::try_from(field).unwrap(); 16]).collect();
    IdempotencyRecord { method, hashes, later_hashes: BTreeMap::new(), answer, created_at: at(created_at) }
}

#[expect(clippy::unnecessary_wraps, reason = "an answer as a record keeps it")]
pub fn answer(order: &Order) -> CommandResult {
    Ok(Answer::Order(order.clone().at(order.accepted_at)))
}

/// The writes of accepting orders.
pub fn accepting(orders: &[Order]) -> Writes {
    let mut inserted = orders.to_vec();
    inserted.sort_by(|one, other| one.order_id.cmp(&other.order_id));
    Writes { inserted, events: orders.iter().map(event).collect(), ..Writes::default() }
}

/// The writes of moving an order from one version to later ones.
pub fn moving(from: &Order, through: &[Order]) -> Writes {
    let last = through.last().unwrap().clone();
    Writes {
        updated: vec![(from.version, last)],
        events: through.iter().map(event).collect(),
        ..Writes::default()
    }
}

struct Says<F>(F);

impl<F: Fn(Loaded) -> BatchDecision + Send + Sync> Decide for Says<F> {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        (self.0)(loaded)
    }
}

pub fn decide(says: impl Fn(Loaded) -> BatchDecision + Send + Sync + 'static) -> Arc<dyn Decide> {
    Arc::new(Says(says))
}

/// Names everything that the writes touch.
pub fn batch_of(writes: &Writes) -> Batch {
    let inserted = writes.inserted.iter();
    let orders = inserted.chain(writes.updated.iter().map(|(_, order)| order));
    Batch {
        order_ids: orders.map(|order| order.order_id.clone()).collect(),
        idempotency_keys: writes.records.iter().map(|(key, _)| key.clone()).collect(),
        ..Batch::default()
    }
}

pub async fn write(store: &dyn OrderStore, writes: Writes) -> Result<Vec<Outcome>, PortError> {
    let batch = batch_of(&writes);
    store
        .transact(batch, decide(move |_| BatchDecision { writes: writes.clone(), outcomes: Vec::new() }))
        .await
}

/// What a batch sees of these.
pub async fn load(store: &dyn OrderStore, batch: Batch) -> Loaded {
    let seen = Arc::new(std::sync::Mutex::new(Loaded::default()));
    let view = Arc::clone(&seen);
    let look = decide(move |loaded| {
        *view.lock().unwrap() = loaded;
        BatchDecision::default()
    });
    store.transact(batch, look).await.unwrap();
    std::mem::take(&mut *seen.lock().unwrap())
}
