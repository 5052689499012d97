//! Fixtures of the contract suites: stores, and builders of orders, events, records and batches.

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

/// Test fixture: the store adapters under test, and the resources that they need.
#[derive(Clone)]
pub struct StoreFixture {
    pub orders: Arc<dyn OrderStore>,
    pub events: Arc<dyn EventLog>,
    pub outbox: Arc<dyn Outbox>,
    inbox: Arc<dyn Inbox>,
    _resources: Arc<dyn std::any::Any + Send + Sync>,
}

impl StoreFixture {
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        self.outbox.clone()
    }

    pub fn inbox(&self) -> Arc<dyn Inbox> {
        self.inbox.clone()
    }
}

pub fn memory() -> StoreFixture {
    let store = Arc::new(MemoryStore::new([7; 32]));
    StoreFixture {
        orders: store.clone(),
        events: store.clone(),
        outbox: store.clone(),
        inbox: store,
        _resources: Arc::new(()),
    }
}

pub fn sqlite() -> StoreFixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let store = Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).unwrap());
    StoreFixture {
        orders: store.clone(),
        events: store.clone(),
        outbox: store.clone(),
        inbox: store,
        _resources: Arc::new(folder),
    }
}

pub async fn postgres() -> StoreFixture {
    let database = crate::postgres::cluster::cluster().database(true).await;
    // Every case therefore also tests the rights of that role.
    let store = Arc::new(PostgresStore::open(&database.serving_options()).await.unwrap());
    StoreFixture {
        orders: store.clone(),
        events: store.clone(),
        outbox: store.clone(),
        inbox: store,
        _resources: Arc::new(database),
    }
}

/// Runs each case of a suite on every adapter of the store ports.
macro_rules! on_every_store {
    ($($case:ident,)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::contract::fixtures::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::contract::fixtures::sqlite()).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::contract::fixtures::postgres().await).await; })*
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

/// Returns the instant `micros` µs after the start of the tests' day.
pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + micros).unwrap()
}

/// Returns an accepted order, stored until 1,000 µs after the start of the day.
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

/// Returns the last event of the order.
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
        // Only odd versions have one: stores must keep its absence too.
        traceparent: (order.version % 2 == 1).then(traceparent),
        order: order.clone(),
    }
}

/// Returns a valid `traceparent`.
pub fn traceparent() -> Traceparent {
    Traceparent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap()
}

/// Returns an id unique to an order and version: the FNV-1a hash of both.
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

#[expect(clippy::unnecessary_wraps, reason = "the type of answers in records")]
pub fn answer(order: &Order) -> CommandResult {
    Ok(Answer::Order(order.clone().at(order.accepted_at)))
}

/// Returns the writes that accept orders.
pub fn accepting(orders: &[Order]) -> Writes {
    let mut inserted = orders.to_vec();
    inserted.sort_by(|one, other| one.order_id.cmp(&other.order_id));
    Writes { inserted, events: orders.iter().map(event).collect(), ..Writes::default() }
}

/// Returns the writes that move an order through later versions.
pub fn moving(from: &Order, through: &[Order]) -> Writes {
    let last = through.last().unwrap().clone();
    Writes {
        updated: vec![(from.version, last)],
        events: through.iter().map(event).collect(),
        ..Writes::default()
    }
}

/// A decision by a closure.
struct DecideFn<F>(F);

impl<F: Fn(Loaded) -> BatchDecision + Send + Sync> Decide for DecideFn<F> {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        (self.0)(loaded)
    }
}

pub fn decide(function: impl Fn(Loaded) -> BatchDecision + Send + Sync + 'static) -> Arc<dyn Decide> {
    Arc::new(DecideFn(function))
}

/// Returns a batch that names every order and idempotency key of the writes.
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

/// Returns the orders and records that the store loads for a batch.
pub async fn load(store: &dyn OrderStore, batch: Batch) -> Loaded {
    let captured = Arc::new(std::sync::Mutex::new(Loaded::default()));
    let view = Arc::clone(&captured);
    let capture = decide(move |loaded| {
        *view.lock().unwrap() = loaded;
        BatchDecision::default()
    });
    store.transact(batch, capture).await.unwrap();
    std::mem::take(&mut *captured.lock().unwrap())
}
