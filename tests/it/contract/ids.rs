//! The contract suite of `Ids`.

use std::collections::HashSet;

use pvz::adapters::system::SystemIds;
use pvz::ports::Ids;

use crate::support::time::{START, SequentialIds, at};

fn generates_unique_ids(ids: &dyn Ids) {
    let events: HashSet<_> = (0..10_000).map(|_| ids.event_id(at(START))).collect();
    assert_eq!(events.len(), 10_000, "event ids are unique");
    let correlation_ids: HashSet<_> = (0..10_000).map(|_| ids.correlation_id()).collect();
    assert_eq!(correlation_ids.len(), 10_000, "correlation ids are unique");
    let is_valid = |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    assert!(correlation_ids.iter().all(is_valid), "a correlation id is a valid header value");
}

#[test]
fn ids_are_unique() {
    generates_unique_ids(&SystemIds);
    generates_unique_ids(&SequentialIds::default());
}

#[test]
fn event_ids_are_uuids_of_version_7_ordered_by_instant() {
    let ids: Vec<_> = (0..1_000).map(|ms| SystemIds.event_id(at(START + ms * 1_000))).collect();
    assert!(ids.is_sorted());
    for instant in [0, START, START + 123_456] {
        let id = uuid::Uuid::from_u128(SystemIds.event_id(at(instant)).0);
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        let millis = i64::try_from(seconds).unwrap() * 1_000 + i64::from(nanos) / 1_000_000;
        assert_eq!(millis, instant / 1_000);
    }
}
