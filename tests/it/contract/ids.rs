//! What every source of ids must do.

use std::collections::HashSet;

use pvz::adapters::system::SystemIds;
use pvz::ports::Ids;

use crate::support::time::{START, SequentialIds, at};

fn are_ids(ids: &dyn Ids) {
    let events: HashSet<_> = (0..10_000).map(|_| ids.event_id(at(START))).collect();
    assert_eq!(events.len(), 10_000, "every event id is fresh");
    let correlations: HashSet<_> = (0..10_000).map(|_| ids.correlation_id()).collect();
    assert_eq!(correlations.len(), 10_000, "every correlation id is fresh");
    let fits = |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    assert!(correlations.iter().all(fits), "a correlation id is one that is echoed");
}

#[test]
fn ids_are_fresh() {
    are_ids(&SystemIds);
    are_ids(&SequentialIds::default());
}

#[test]
fn event_ids_are_uuids_of_version_7_that_sort_by_their_instant() {
    let ids: Vec<_> = (0..1_000).map(|ms| SystemIds.event_id(at(START + ms * 1_000))).collect();
    assert!(ids.is_sorted());
    let id = uuid::Uuid::from_u128(ids[7].0);
    assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
    let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
    assert_eq!((seconds, nanos), (u64::try_from(START / 1_000_000).unwrap(), 7_000_000));
}
