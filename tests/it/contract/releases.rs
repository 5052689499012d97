//! Tests of idempotency records of two releases in one store: the fields that a later release adds to
//! a command are stored by name.

use std::sync::Arc;

use pvz::adapters::system::SystemIds;
use pvz::app::{BatchDecider, Entry};
use pvz::domain::{Accept, Actor, Grams, Policy, Reason, RequestId};
use pvz::ports::{Batch, IdempotencyKey, IdempotencyRecord, OrderStore, Outcome, Writes};

use super::fixtures::{StoreFixture, accepted, answer, key, load, on_every_store, record, write};
use crate::support::commands::{accept, parcel, point};
use crate::support::time::TestClock;

on_every_store! {
    keeps_the_hashes_of_later_fields,
    a_retry_is_answered_from_a_record_without_later_fields,
    a_retry_differs_from_a_record_with_a_field_of_a_newer_release,
}

/// Runs an accept under the key `again`.
async fn retry(store: &dyn OrderStore, order: Accept) -> Outcome {
    let policy = Arc::new(Policy::standard(point("main")));
    let request_id = RequestId::parse("again").ok();
    let entry = Entry::new(accept(order).command, Actor::anonymous(), "", request_id, &policy);
    let clock = Arc::new(TestClock::default());
    let decider = Arc::new(BatchDecider::new(vec![Arc::new(entry)], policy, clock, Arc::new(SystemIds)));
    store.transact(decider.batch(), decider).await.unwrap().pop().unwrap()
}

async fn stored(store: &dyn OrderStore, key: &IdempotencyKey) -> IdempotencyRecord {
    let batch = Batch { idempotency_keys: [key.clone()].into(), ..Batch::default() };
    load(store, batch).await.records.remove(key).unwrap()
}

/// Replaces the record of `again` with one written by a newer release.
async fn add_later_field(store: &dyn OrderStore) {
    let mut newer = stored(store, &key("again")).await;
    newer.later_hashes.insert("note".to_owned(), [7; 16]);
    let writes = Writes { records: vec![(key("again"), newer)], ..Writes::default() };
    write(store, writes).await.unwrap();
}

async fn keeps_the_hashes_of_later_fields(fixture: StoreFixture) {
    let without = record(answer(&accepted("1", 0)), 0);
    let mut with = without.clone();
    with.later_hashes = [("a".to_owned(), [1; 16]), ("note".to_owned(), [2; 16])].into();
    // First as new rows, then each replaces the other.
    for (one, other) in [(&without, &with), (&with, &without)] {
        let records = vec![(key("one"), one.clone()), (key("other"), other.clone())];
        write(&*fixture.orders, Writes { records, ..Writes::default() }).await.unwrap();
        assert_eq!(stored(&*fixture.orders, &key("one")).await, *one);
        assert_eq!(stored(&*fixture.orders, &key("other")).await, *other);
    }
}

async fn a_retry_is_answered_from_a_record_without_later_fields(fixture: StoreFixture) {
    let first = retry(&*fixture.orders, parcel("1")).await;
    assert!(first.answer.is_ok() && !first.replayed);
    assert!(stored(&*fixture.orders, &key("again")).await.later_hashes.is_empty());
    let again = retry(&*fixture.orders, parcel("1")).await;
    assert_eq!((again.answer, again.replayed), (first.answer, true));
}

async fn a_retry_differs_from_a_record_with_a_field_of_a_newer_release(fixture: StoreFixture) {
    assert!(retry(&*fixture.orders, parcel("1")).await.answer.is_ok());
    add_later_field(&*fixture.orders).await;
    let heavier = Accept { weight: Grams::new(2_000).ok(), ..parcel("1") };
    for (order, field) in [(parcel("1"), "note"), (heavier, "weight_grams")] {
        let outcome = retry(&*fixture.orders, order).await;
        let refusal = outcome.answer.unwrap_err();
        assert_eq!((refusal.reason, outcome.replayed), (Reason::IdempotencyKeyReused, false));
        assert_eq!(refusal.metadata["field"], field, "the first difference in message order");
    }
}
