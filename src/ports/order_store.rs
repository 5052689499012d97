use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;

use super::PortError;
use crate::domain::{
    Answer, CustomerId, Event, Method, Order, OrderId, Orders, PickupPointId, Refusal, RequestId, StateName,
    Timestamp,
};

/// The store of orders and idempotency records.
#[async_trait]
pub trait OrderStore: Send + Sync {
    /// Runs a batch of commands atomically: loads and locks what `batch` names, calls `decide`,
    /// writes its decision, and returns the outcomes after the commit is durable.
    ///
    /// `decide` is called once per attempt. An adapter that loses a race calls it again with
    /// newer rows, and writes the last decision. `decide` does no I/O and does not panic.
    ///
    /// # Errors
    /// Nothing was written, unless the kind is in doubt.
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError>;

    /// Returns the order with this id.
    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError>;

    /// Returns a page of the matching orders, by `(accepted_at, order_id)` descending.
    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError>;

    /// Returns a page of the orders in state RETURNED, by `(returned_at, order_id)` descending.
    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError>;

    /// Removes up to `limit` idempotency records created before an instant, and returns their
    /// number.
    async fn expire_idempotency_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError>;

    /// Runs a bounded step of the store's own maintenance. Called every minute, on every
    /// replica.
    async fn maintenance(&self) -> Result<(), PortError> {
        Ok(())
    }

    /// Returns up to `limit` orders after an id, ascending, each with its row and its events as
    /// of one instant. Includes ids that have only a row or only events.
    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<AuditedOrder>, PortError>;

    /// Returns the store's secret of 32 bytes, which authenticates page tokens. It is created
    /// with the store and shared by all replicas.
    async fn secret(&self) -> Result<[u8; 32], PortError>;

    /// Checks that a command would succeed now.
    async fn ping(&self) -> Result<(), PortError>;
}

/// The keys of a batch of commands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The orders to load and lock.
    pub order_ids: SortedKeys<OrderId>,
    /// The idempotency records to load.
    pub idempotency_keys: SortedKeys<IdempotencyKey>,
    /// True if the first command on each order creates it, so that most likely no order and no
    /// idempotency record exists yet. This is a hint that the store must verify.
    pub creates_orders: bool,
}

/// Unique keys in ascending order. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedKeys<K>(Arc<[K]>);

impl<K> Default for SortedKeys<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord> FromIterator<K> for SortedKeys<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut keys: Vec<K> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        Self(keys.into())
    }
}

impl<K: Ord, const N: usize> From<[K; N]> for SortedKeys<K> {
    fn from(keys: [K; N]) -> Self {
        keys.into_iter().collect()
    }
}

impl<K> Deref for SortedKeys<K> {
    type Target = [K];

    fn deref(&self) -> &[K] {
        &self.0
    }
}

/// The rows loaded for a batch.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The existing orders.
    pub orders: Orders,
    /// The existing idempotency records, including expired ones.
    pub records: HashMap<IdempotencyKey, IdempotencyRecord>,
}

/// The decision function of a batch.
pub trait Decide: Send + Sync {
    /// Decides the batch on the loaded rows.
    fn decide(&self, loaded: Loaded) -> BatchDecision;
}

/// The decision on a batch.
#[derive(Debug, Clone, Default)]
pub struct BatchDecision {
    /// The rows to write.
    pub writes: Writes,
    /// An outcome for each command of the batch, in the same order.
    pub outcomes: Vec<Outcome>,
}

/// The rows that a batch writes, atomically.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writes {
    /// New orders after the batch, by id ascending.
    pub inserted: Vec<Order>,
    /// Changed orders, by id ascending: the loaded version and the order after the batch, which
    /// may be several versions ahead.
    pub updated: Vec<(i64, Order)>,
    /// The events, in the order in which they occurred.
    pub events: Vec<Event>,
    /// The idempotency records, by key ascending. A record replaces an expired one with the same
    /// key.
    pub records: Vec<(IdempotencyKey, IdempotencyRecord)>,
}

impl Writes {
    /// Returns true if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.records.is_empty()
    }
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer or the refusal.
    pub answer: CommandResult,
    /// True if it is the stored answer to an earlier command.
    pub replayed: bool,
}

/// The answer in an idempotency record.
pub type CommandResult = Result<Answer, Refusal>;

/// The key of an idempotency record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey {
    /// The authenticated principal, or empty while authentication is off.
    pub scope: String,
    /// The `request_id`.
    pub request_id: RequestId,
}

/// An idempotency record: the content of a request, as hashes, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The RPC.
    pub method: Method,
    /// A hash of each field of the first release, in the order of
    /// [`Method::fields`].
    pub hashes: Vec<[u8; 16]>,
    /// A hash of each later field that the request had, by name; names that
    /// this release does not know are kept. A record of a release without later
    /// fields has none.
    pub later_hashes: BTreeMap<String, [u8; 16]>,
    /// The answer.
    pub answer: CommandResult,
    /// The instant of the decision.
    pub created_at: Timestamp,
}

/// The filter of a list. Conditions are joined by AND.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderFilter {
    /// The customer.
    pub customer_id: Option<CustomerId>,
    /// The pickup point.
    pub pickup_point_id: Option<PickupPointId>,
    /// The states; empty means any.
    pub states: BTreeSet<StateName>,
    /// Only expired orders (true) or only others (false), as of the instant.
    pub expired: Option<(bool, Timestamp)>,
}

/// A page of a list: items strictly below a key, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The key of the last item of the previous page.
    pub below: Option<(Timestamp, OrderId)>,
    /// The maximum number of items.
    pub limit: usize,
}

/// The stored data of an order, for verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedOrder {
    /// The id.
    pub order_id: OrderId,
    /// The row, if it exists, or the reason why it cannot be read.
    pub row: Result<Option<Order>, String>,
    /// The events, in sequence, or the reason why they cannot be read.
    pub events: Result<Vec<Event>, String>,
    /// True if old partitions of the log were detached, so that the first events of the order,
    /// or all of them, may be missing.
    pub archived: bool,
}
