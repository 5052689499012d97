//! Tests of the relay when an operator archives events by detaching their partition.

use std::sync::Arc;

use pvz::ports::{LeaseWrite, Position};

use super::RelayFixture;
use super::doubles::EditedLog;

#[tokio::test]
async fn events_archived_too_early_are_waited_for_and_not_skipped() {
    let fixture = RelayFixture::new(6, &[], &[]).await;
    let lease = fixture.stores.outbox().acquire_lease("scripted").await.unwrap().unwrap();
    let advance = fixture.stores.outbox().advance(&lease.token, Position(2), &[]).await.unwrap();
    assert_eq!(advance, LeaseWrite::Done);
    drop(lease);
    let log = Arc::new(EditedLog::new(&fixture, |_, events| events));
    *log.oldest.lock().unwrap() = Position(5);
    let relay = fixture.relay_of(log.clone(), fixture.stores.outbox());
    let failure = || async {
        let status = fixture.stores.outbox().status("scripted").await.unwrap().unwrap();
        status.leader.and_then(|leader| leader.failure).map(|(cause, _)| cause)
    };
    while failure().await.as_deref() != Some("events were archived before the sink had them") {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.sink.written(), []);
    // After the partition is attached again, the relay continues at its cursor.
    *log.oldest.lock().unwrap() = Position(0);
    while fixture.sink.written().len() + 2 < fixture.outbox.log.len() {
        tokio::task::yield_now().await;
    }
    fixture.stop.cancel();
    relay.await.unwrap();
    assert_eq!(fixture.stores.outbox().cursor("scripted").await.unwrap(), Some(fixture.end()));
}

#[tokio::test]
async fn new_sink_begins_with_the_oldest_event() {
    let fixture = RelayFixture::new(6, &[], &[]).await;
    let log = Arc::new(EditedLog::new(&fixture, |_, events| events));
    *log.oldest.lock().unwrap() = Position(5);
    let relay = fixture.relay_of(log, fixture.stores.outbox());
    while fixture.sink.written().len() + 5 < fixture.outbox.log.len() {
        tokio::task::yield_now().await;
    }
    fixture.stop.cancel();
    relay.await.unwrap();
}
