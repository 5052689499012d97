//! Decides a batch in memory: commands in order, each seeing the effects of those before it.
//! Pure except for the clock, which is read once, and new ids.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::DecidedOrders;
use crate::domain::{
    Actor, Change, Command, Content, Decision, Event, Method, OrderId, Policy, Reason, Refusal, RequestId,
    Timestamp, Traceparent, decide, echo,
};
use crate::ports::{
    Batch, BatchDecision, Clock, CommandResult, Decide, IdempotencyKey, IdempotencyRecord, Ids, Loaded,
    Outcome, SortedKeys, StaleOrder, Writes,
};

/// A command in a batch.
#[derive(Debug, Clone)]
pub struct Entry {
    command: Command,
    actor: Actor,
    traceparent: Option<Traceparent>,
    keyed: Option<Keyed>,
}

/// The idempotency key and content hashes of a command.
#[derive(Debug, Clone)]
struct Keyed {
    key: IdempotencyKey,
    method: Method,
    hashes: Vec<[u8; 16]>,
    later_hashes: BTreeMap<String, [u8; 16]>,
}

impl Entry {
    /// Returns an entry for a well-formed command.
    pub fn new(
        command: Command,
        actor: Actor,
        scope: &str,
        request_id: Option<RequestId>,
        policy: &Policy,
    ) -> Self {
        let keyed = request_id.map(|request_id| {
            let content = Content::of(&command, &policy.catalogue);
            let hashes = content.fields.iter().map(|field| hash(field)).collect();
            let later = content.later_fields.iter();
            let later_hashes = later.map(|(name, field)| ((*name).to_owned(), hash(field))).collect();
            let key = IdempotencyKey { scope: scope.to_owned(), request_id };
            Keyed { key, method: content.method, hashes, later_hashes }
        });
        Self { command, actor, traceparent: None, keyed }
    }

    /// Adds the trace of the call, which is stored with the events only.
    pub fn traced(self, traceparent: Option<Traceparent>) -> Self {
        Self { traceparent, ..self }
    }

    /// Returns the orders that the command names.
    pub fn order_ids(&self) -> &[OrderId] {
        self.command.order_ids()
    }

    /// Returns the key of its idempotency record.
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.keyed.as_ref().map(|keyed| &keyed.key)
    }

    fn request_id(&self) -> Option<RequestId> {
        self.keyed.as_ref().map(|keyed| keyed.key.request_id.clone())
    }
}

/// Returns the first 16 bytes of the SHA-256, long enough that collisions cannot be found.
fn hash(text: &str) -> [u8; 16] {
    let digest = Sha256::digest(text.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// Decides a batch of entries.
pub struct BatchDecider {
    entries: Vec<Arc<Entry>>,
    /// The keys that the entries name. A decision changes no others.
    order_ids: SortedKeys<OrderId>,
    idempotency_keys: SortedKeys<IdempotencyKey>,
    policy: Arc<Policy>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// The orders after the last decision, which is the one that the store writes.
    decided: Mutex<DecidedOrders>,
}

impl BatchDecider {
    /// Returns a decider of these entries.
    pub fn new(
        entries: Vec<Arc<Entry>>,
        policy: Arc<Policy>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Self {
        let order_ids = entries.iter().flat_map(|entry| entry.order_ids()).cloned().collect();
        let idempotency_keys = entries.iter().filter_map(|entry| entry.idempotency_key()).cloned().collect();
        let decided = Mutex::default();
        Self { entries, order_ids, idempotency_keys, policy, clock, ids, decided }
    }

    /// Returns the keys for the store to load and lock.
    pub fn batch(&self) -> Batch {
        let (order_ids, idempotency_keys) = (self.order_ids.clone(), self.idempotency_keys.clone());
        Batch { order_ids, idempotency_keys, creates_orders: self.creates_orders() }
    }

    /// Returns the orders after the last decision.
    pub fn take_decided(&self) -> DecidedOrders {
        std::mem::take(&mut self.decided.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns true if the first command on each order creates it.
    fn creates_orders(&self) -> bool {
        let mut made = HashSet::new();
        let makes = |entry: &Arc<Entry>| entry.command.creates_orders();
        self.entries.iter().all(makes)
            || self.entries.iter().all(|entry| {
                let ids = entry.order_ids();
                if entry.command.creates_orders() {
                    made.extend(ids);
                }
                ids.iter().all(|order_id| made.contains(order_id))
            })
    }
}

impl Decide for BatchDecider {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        let mut work = Work {
            now: self.clock.now(),
            decider: self,
            loaded,
            versions: HashMap::new(),
            events: Vec::new(),
            records: HashMap::new(),
        };
        let outcomes = self.entries.iter().map(|entry| work.run(entry)).collect();
        let (writes, decided) = work.finish();
        *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = decided;
        BatchDecision { writes, outcomes }
    }
}

/// The state of a batch while it is decided.
struct Work<'a> {
    now: Timestamp,
    decider: &'a BatchDecider,
    /// The orders and records after the commands decided so far.
    loaded: Loaded,
    /// The loaded version of each changed order; `None` for a new order.
    versions: HashMap<OrderId, Option<i64>>,
    events: Vec<Event>,
    /// The new records.
    records: HashMap<IdempotencyKey, IdempotencyRecord>,
}

impl Work<'_> {
    fn run(&mut self, entry: &Entry) -> Outcome {
        if let Some(keyed) = &entry.keyed
            && let Some(outcome) = self.said_before(keyed)
        {
            return outcome;
        }
        let answer = self.decide(entry);
        if let Some(keyed) = &entry.keyed
            && answer.as_ref().err().is_none_or(|refusal| refusal.reason.is_stored())
        {
            self.record(keyed, answer.clone());
        }
        Outcome { answer, replayed: false }
    }

    /// Returns the stored answer to a repeated `request_id`.
    fn said_before(&self, keyed: &Keyed) -> Option<Outcome> {
        let record = self.records.get(&keyed.key).or_else(|| self.loaded.records.get(&keyed.key))?;
        // A record that is exactly as old as the retention still counts.
        if self.now > record.created_at.plus(self.decider.policy.idempotency_retention) {
            return None;
        }
        Some(match first_difference(record, keyed) {
            None => Outcome { answer: record.answer.clone(), replayed: true },
            Some(field) => {
                let request_id = echo(keyed.key.request_id.as_str());
                let message = format!(
                    "the request_id {request_id} was used for another request: its {field} is different"
                );
                let refusal = Refusal::new(Reason::IdempotencyKeyReused, message)
                    .with("request_id", request_id)
                    .with("field", field);
                Outcome { answer: Err(refusal), replayed: false }
            }
        })
    }

    /// A panic in a decision is a bug. It fails only its own command.
    fn decide(&mut self, entry: &Entry) -> CommandResult {
        let decided = catch_unwind(AssertUnwindSafe(|| {
            decide(&entry.command, &self.loaded.orders, self.now, &self.decider.policy)
        }));
        let Decision { changes, answer } = decided.unwrap_or_else(|_| {
            tracing::error!(orders = ?entry.order_ids(), "panic in a decision");
            Err(Refusal::internal())
        })?;
        for change in changes {
            self.apply(change, entry);
        }
        Ok(answer)
    }

    fn apply(&mut self, change: Change, entry: &Entry) {
        let Change { event_type, order } = change;
        let occurred_at = order.changed_at();
        self.events.push(Event {
            event_id: self.decider.ids.event_id(occurred_at),
            event_type,
            sequence: order.version,
            occurred_at,
            actor: entry.actor.clone(),
            request_id: entry.request_id(),
            traceparent: entry.traceparent.clone(),
            order: order.clone(),
        });
        let before = self.loaded.orders.insert(order.order_id.clone(), order.clone());
        self.versions.entry(order.order_id).or_insert(before.map(|order| order.version));
    }

    fn record(&mut self, keyed: &Keyed, answer: CommandResult) {
        let record = IdempotencyRecord {
            method: keyed.method,
            hashes: keyed.hashes.clone(),
            later_hashes: keyed.later_hashes.clone(),
            answer,
            created_at: self.now,
        };
        self.records.insert(keyed.key.clone(), record);
    }

    fn finish(mut self) -> (Writes, DecidedOrders) {
        let (mut writes, mut decided) =
            (Writes { events: self.events, ..Writes::default() }, DecidedOrders::default());
        for order_id in self.decider.order_ids.iter() {
            let Some(version) = self.versions.remove(order_id) else { continue };
            let Some(order) = self.loaded.orders.remove(order_id) else { continue };
            decided.changed.push(order.clone());
            match version {
                None => writes.inserted.push(order),
                Some(version) => writes.updated.push((version, order)),
            }
        }
        let keys = self.decider.idempotency_keys.iter();
        writes.records = keys.filter_map(|key| self.records.remove_entry(key)).collect();
        let read = self.loaded.orders.into_values();
        let read = read.map(|order| StaleOrder { order_id: order.order_id, version: Some(order.version) });
        decided.read = read.collect();
        (writes, decided)
    }
}

/// Returns the first field in which a repeated key's content differs, in
/// message order; `method` when it is another RPC. Later fields that this
/// release does not know come last: a record of a newer release has them.
fn first_difference<'r>(record: &'r IdempotencyRecord, keyed: &'r Keyed) -> Option<&'r str> {
    if record.method != keyed.method {
        return Some("method");
    }
    let first_release = keyed.method.fields().iter().enumerate();
    let first_release =
        first_release.map(|(index, field)| (*field, record.hashes.get(index) == keyed.hashes.get(index)));
    let (stored, sent) = (&record.later_hashes, &keyed.later_hashes);
    let later = keyed.method.later_fields().iter().copied();
    let later = later.chain(stored.keys().chain(sent.keys()).map(String::as_str));
    let later = later.map(|field| (field, stored.get(field) == sent.get(field)));
    first_release.chain(later).find_map(|(field, same)| (!same).then_some(field))
}

#[cfg(test)]
mod tests {
    use super::{IdempotencyKey, IdempotencyRecord, Keyed, Method, RequestId, Timestamp, first_difference};
    use crate::domain::Answer;

    /// Returns the difference between a record and a command, each with or without a later field
    /// `note`, and with another customer if `other` is set.
    fn difference(stored: Option<u8>, sent: Option<u8>, other: bool) -> Option<String> {
        let later = |note: Option<u8>| note.map(|note| ("note".to_owned(), [note; 16])).into_iter().collect();
        let (method, hashes) = (Method::AcceptReturn, vec![[0; 16], [u8::from(other); 16], [0; 16]]);
        let record = IdempotencyRecord {
            method,
            hashes: vec![[0; 16]; 3],
            later_hashes: later(stored),
            answer: Ok(Answer::Results(Vec::new())),
            created_at: Timestamp::from_micros(0).unwrap(),
        };
        let key = IdempotencyKey { scope: String::new(), request_id: RequestId::parse("key").unwrap() };
        let keyed = Keyed { key, method, hashes, later_hashes: later(sent) };
        first_difference(&record, &keyed).map(str::to_owned)
    }

    #[test]
    fn records_of_other_releases_are_compared_by_name() {
        assert_eq!(difference(None, None, false), None);
        assert_eq!(difference(Some(1), Some(1), false), None);
        for (stored, sent) in [(None, Some(1)), (Some(1), None), (Some(1), Some(2))] {
            assert_eq!(difference(stored, sent, false).as_deref(), Some("note"));
            assert_eq!(difference(stored, sent, true).as_deref(), Some("customer_id"), "in message order");
        }
    }
}
