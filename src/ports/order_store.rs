use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;

use super::PortError;
use crate::domain::{
    Answer, CustomerId, Event, Method, Order, OrderId, Orders, PickupPointId, Refusal, RequestId, StateName,
    Timestamp,
};

/// The orders, and what makes repeated commands harmless.
#[async_trait]
pub trait OrderStore: Send + Sync {
    /// Runs a batch of commands in one atomic step: loads and locks what
    /// `batch` names, lets `decide` decide, writes what it says, and answers
    /// its outcomes once they are durable.
    ///
    /// `decide` is called once for each attempt; an adapter that lost a race
    /// calls it again with what it sees then. It is pure of IO, does not panic,
    /// and its last verdict is the one written.
    ///
    /// # Errors
    /// Nothing was written, unless the kind says that this is in doubt.
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError>;

    /// The order with that id.
    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError>;

    /// A page of the orders that match, `(accepted_at, order_id)` descending.
    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError>;

    /// A page of the orders in state RETURNED, `(returned_at, order_id)`
    /// descending.
    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError>;

    /// Removes up to `limit` idempotency records made before that instant, and
    /// says how many.
    async fn expire_idempotency_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError>;

    /// Does what the store itself needs now and then, in a bounded step. Called
    /// every minute; on any number of replicas.
    async fn maintenance(&self) -> Result<(), PortError> {
        Ok(())
    }

    /// Up to `limit` orders after that id, ascending, each with its row and all
    /// its events as of one instant; also ids that have only one of them.
    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<AuditedOrder>, PortError>;

    /// A secret of 32 bytes that all replicas of the store share, made when the
    /// store was: it authenticates page tokens.
    async fn secret(&self) -> Result<[u8; 32], PortError>;

    /// Whether the store can be reached and written.
    async fn ping(&self) -> Result<(), PortError>;
}

/// What a batch of commands names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The orders to load and lock.
    pub order_ids: SortedKeys<OrderId>,
    /// The idempotency records to load.
    pub idempotency_keys: SortedKeys<IdempotencyKey>,
    /// The first command on each of the orders is one that makes it: most
    /// likely none of them is there yet, and no record either. A hint, which a
    /// store must prove before it relies on it.
    pub creates_orders: bool,
}

/// Keys, ascending and each once. Clones share them.
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

/// What was loaded for a batch.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Those of the orders that exist.
    pub orders: Orders,
    /// Those of the records that exist, expired ones included.
    pub records: HashMap<IdempotencyKey, IdempotencyRecord>,
}

/// Decides a batch.
pub trait Decide: Send + Sync {
    /// What to write, and what to answer when it is durable.
    fn decide(&self, loaded: Loaded) -> BatchDecision;
}

/// What to write, and what to answer when it is durable.
#[derive(Debug, Clone, Default)]
pub struct BatchDecision {
    /// What to write.
    pub writes: Writes,
    /// An outcome for each command of the batch, in its order.
    pub outcomes: Vec<Outcome>,
}

/// What a batch writes, in one atomic step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writes {
    /// New orders, by id ascending, as they are after the batch.
    pub inserted: Vec<Order>,
    /// Changed orders, by id ascending: the version that was loaded, and the
    /// order after the batch, which may be several versions ahead.
    pub updated: Vec<(i64, Order)>,
    /// The events, in the order in which they happened.
    pub events: Vec<Event>,
    /// The idempotency records, by key ascending. One that was loaded, expired,
    /// is replaced.
    pub records: Vec<(IdempotencyKey, IdempotencyRecord)>,
}

impl Writes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.records.is_empty()
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer or the refusal.
    pub answer: CommandResult,
    /// It is the stored answer to an earlier command.
    pub replayed: bool,
}

/// An answer as an idempotency record keeps it.
pub type CommandResult = Result<Answer, Refusal>;

/// The key of an idempotency record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey {
    /// Whose key it is: the authenticated principal, or empty while
    /// authentication is off.
    pub scope: String,
    /// The `request_id`.
    pub request_id: RequestId,
}

/// An idempotency record: what was asked, and what was answered.
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
    /// When it was decided.
    pub created_at: Timestamp,
}

/// Which orders a list shows; filters are joined by AND.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderFilter {
    /// Only of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only of this point.
    pub pickup_point_id: Option<PickupPointId>,
    /// Only in one of these states; empty: in any.
    pub states: BTreeSet<StateName>,
    /// Only expired ones, or only those that are not, at that instant.
    pub expired: Option<(bool, Timestamp)>,
}

/// Which part of a list: items strictly below a key, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The key of the last item of the page before.
    pub below: Option<(Timestamp, OrderId)>,
    /// The most items to answer.
    pub limit: usize,
}

/// An order as an audit finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedOrder {
    /// Its id.
    pub order_id: OrderId,
    /// Its row, if there is one, or why it cannot be read.
    pub row: Result<Option<Order>, String>,
    /// Its events, in sequence, or why they cannot be read.
    pub events: Result<Vec<Event>, String>,
    /// The beginning of the log was archived: the first of the events may be
    /// gone, or all of them.
    pub archived: bool,
}
