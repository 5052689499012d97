//! Events whose partition an operator took away.

use std::sync::Arc;

use pvz::ports::{LeaseWrite, Position};

use super::Scene;
use super::script::OtherLog;

#[tokio::test]
async fn what_was_archived_too_soon_is_waited_for_and_not_skipped() {
    let scene = Scene::new(6, &[], &[]).await;
    let lease = scene.given.outbox().acquire_lease("scripted").await.unwrap().unwrap();
    let advance = scene.given.outbox().advance(&lease.token, Position(2), &[]).await.unwrap();
    assert_eq!(advance, LeaseWrite::Done);
    drop(lease);
    let log = Arc::new(OtherLog::new(&scene, |_, events| events));
    *log.oldest.lock().unwrap() = Position(5);
    let relay = scene.relay_of(log.clone(), scene.given.outbox());
    let failure = || async {
        let status = scene.given.outbox().status("scripted").await.unwrap().unwrap();
        status.leader.and_then(|leader| leader.failure).map(|(cause, _)| cause)
    };
    while failure().await.as_deref() != Some("events were archived before the sink had them") {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.sink.written(), []);
    // Attached again, it goes on where it was.
    *log.oldest.lock().unwrap() = Position(0);
    while scene.sink.written().len() + 2 < scene.outbox.log.len() {
        tokio::task::yield_now().await;
    }
    scene.stop.cancel();
    relay.await.unwrap();
    assert_eq!(scene.given.outbox().cursor("scripted").await.unwrap(), Some(scene.end()));
}

#[tokio::test]
async fn a_new_sink_begins_with_what_there_is() {
    let scene = Scene::new(6, &[], &[]).await;
    let log = Arc::new(OtherLog::new(&scene, |_, events| events));
    *log.oldest.lock().unwrap() = Position(5);
    let relay = scene.relay_of(log, scene.given.outbox());
    while scene.sink.written().len() + 5 < scene.outbox.log.len() {
        tokio::task::yield_now().await;
    }
    scene.stop.cancel();
    relay.await.unwrap();
}
