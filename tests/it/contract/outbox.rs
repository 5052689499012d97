//! The contract suite of `Outbox`.

use pvz::adapters::metered::MeteredOutbox;
use pvz::domain::EventId;
use pvz::ports::{
    DeadLetter, ErrorKind, KnownSink, LeaderStatus, Lease, LeaseWrite, Outbox, Position, Resolution,
};

use super::fixtures::{StoreFixture, at, id, on_every_store};
use crate::process::TIMEOUT;

on_every_store! {
    begins_before_the_first_event,
    continues_at_the_cursor_of_the_last_leader,
    has_one_leader_at_a_time,
    ignores_writes_of_a_former_leader,
    refuses_to_move_a_cursor_back,
    keeps_a_cursor_for_each_sink,
    holds_back_orders_with_a_dead_letter,
    lists_dead_letters_in_pages,
    keeps_the_decision_of_an_operator,
    removes_a_resolved_dead_letter,
    reports_the_status_of_a_sink,
    remembers_a_sink,
    moves_the_cursor_back_under_a_new_fencing_token,
    metered_outbox_behaves_like_the_inner_one,
}

async fn acquire(outbox: &dyn Outbox) -> Lease {
    outbox.acquire_lease("sink").await.unwrap().expect("the lease is free")
}

/// Acquires a lease again: it may become free with a delay after it was dropped.
async fn acquire_again(outbox: &dyn Outbox) -> Lease {
    acquire_for(outbox, "sink").await
}

async fn acquire_for(outbox: &dyn Outbox, sink: &str) -> Lease {
    let free = async {
        loop {
            match outbox.acquire_lease(sink).await.unwrap() {
                Some(lease) => break lease,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(TIMEOUT, free).await.expect("the lease becomes free")
}

fn dead_letter(order_id: &str, sequence: i64) -> DeadLetter {
    DeadLetter {
        order_id: id(order_id),
        sequence,
        position: Position(sequence),
        cause: format!("{order_id} is too large: \"ü\""),
        refused_at: at(sequence),
        resolution: None,
    }
}

async fn begins_before_the_first_event(fixture: StoreFixture) {
    assert_eq!(fixture.outbox().cursor("sink").await.unwrap(), None);
    let lease = acquire(&*fixture.outbox()).await;
    assert_eq!((lease.token.sink.as_str(), lease.cursor), ("sink", Position(0)));
    assert_eq!(fixture.outbox().cursor("sink").await.unwrap(), Some(Position(0)));
    assert!(fixture.outbox().dead_letters("sink", None, 10).await.unwrap().is_empty());
    assert!(fixture.outbox().held_back("sink", &[id("1")].into()).await.unwrap().is_empty());
}

async fn continues_at_the_cursor_of_the_last_leader(fixture: StoreFixture) {
    let lease = acquire(&*fixture.outbox()).await;
    for position in [3, 3, 7] {
        let advanced = fixture.outbox().advance(&lease.token, Position(position), &[]).await.unwrap();
        assert_eq!(advanced, LeaseWrite::Done);
    }
    assert_eq!(fixture.outbox().cursor("sink").await.unwrap(), Some(Position(7)));
    let first = lease.token.fencing_token;
    drop(lease);
    let lease = acquire_again(&*fixture.outbox()).await;
    assert_eq!(lease.cursor, Position(7));
    assert!(lease.token.fencing_token > first);
}

async fn has_one_leader_at_a_time(fixture: StoreFixture) {
    let lease = acquire(&*fixture.outbox()).await;
    assert!(fixture.outbox().acquire_lease("sink").await.unwrap().is_none());
    assert!(
        fixture.outbox().acquire_lease("another").await.unwrap().is_none(),
        "there is one lease for all sinks"
    );
    let advanced = fixture.outbox().advance(&lease.token, Position(1), &[]).await.unwrap();
    assert_eq!(advanced, LeaseWrite::Done, "a refused acquisition does not fence the leader");
    drop(lease);
    acquire_again(&*fixture.outbox()).await;
}

async fn ignores_writes_of_a_former_leader(fixture: StoreFixture) {
    let paused = acquire(&*fixture.outbox()).await;
    // The lease is lost, but its token is still used.
    let token = paused.token.clone();
    drop(paused);
    let lease = acquire_again(&*fixture.outbox()).await;
    let late = fixture.outbox().advance(&token, Position(9), &[dead_letter("1", 1)]).await.unwrap();
    assert_eq!(late, LeaseWrite::Fenced);
    assert_eq!(fixture.outbox().cursor("sink").await.unwrap(), Some(Position(0)));
    assert!(fixture.outbox().dead_letters("sink", None, 10).await.unwrap().is_empty());
    let advanced = fixture.outbox().advance(&lease.token, Position(5), &[]).await.unwrap();
    assert_eq!(advanced, LeaseWrite::Done);
}

async fn refuses_to_move_a_cursor_back(fixture: StoreFixture) {
    let lease = acquire(&*fixture.outbox()).await;
    let _ = fixture.outbox().advance(&lease.token, Position(5), &[]).await.unwrap();
    let back = fixture.outbox().advance(&lease.token, Position(4), &[dead_letter("1", 1)]).await;
    assert_eq!(back.unwrap_err().kind(), ErrorKind::Inconsistent);
    assert_eq!(fixture.outbox().cursor("sink").await.unwrap(), Some(Position(5)));
    assert!(fixture.outbox().dead_letters("sink", None, 10).await.unwrap().is_empty());
}

async fn keeps_a_cursor_for_each_sink(fixture: StoreFixture) {
    let lease = acquire(&*fixture.outbox()).await;
    let letters = [dead_letter("1", 1)];
    let _ = fixture.outbox().advance(&lease.token, Position(5), &letters).await.unwrap();
    drop(lease);
    let other = acquire_for(&*fixture.outbox(), "other").await;
    assert_eq!(other.cursor, Position(0));
    let _ = fixture.outbox().advance(&other.token, Position(2), &[]).await.unwrap();
    assert!(fixture.outbox().dead_letters("other", None, 10).await.unwrap().is_empty());
    assert!(fixture.outbox().held_back("other", &[id("1")].into()).await.unwrap().is_empty());
    assert_eq!(fixture.outbox().cursor("sink").await.unwrap(), Some(Position(5)));
}

async fn holds_back_orders_with_a_dead_letter(fixture: StoreFixture) {
    let lease = acquire(&*fixture.outbox()).await;
    let letters = [dead_letter("b", 3), dead_letter("a", 2)];
    let _ = fixture.outbox().advance(&lease.token, Position(0), &letters).await.unwrap();
    let asked = ["a", "b", "c"].map(id).into();
    let held = fixture.outbox().held_back("sink", &asked).await.unwrap();
    assert_eq!(held, [(id("a"), 2), (id("b"), 3)].into());
    assert!(fixture.outbox().held_back("sink", &[id("c")].into()).await.unwrap().is_empty());
    // A repeated write stores the same dead letter.
    let _ = fixture.outbox().advance(&lease.token, Position(4), &letters[..1]).await.unwrap();
    assert_eq!(
        fixture.outbox().dead_letters("sink", None, 10).await.unwrap(),
        [dead_letter("a", 2), dead_letter("b", 3)]
    );
}

async fn lists_dead_letters_in_pages(fixture: StoreFixture) {
    let lease = acquire(&*fixture.outbox()).await;
    let letters: Vec<DeadLetter> =
        ["a", "b", "c", "d", "e"].iter().zip(1..).map(|(order_id, n)| dead_letter(order_id, n)).collect();
    let _ = fixture.outbox().advance(&lease.token, Position(5), &letters).await.unwrap();
    let first = fixture.outbox().dead_letters("sink", None, 2).await.unwrap();
    assert_eq!(first, letters[..2]);
    let rest = fixture.outbox().dead_letters("sink", Some(&first[1].order_id), 10).await.unwrap();
    assert_eq!(rest, letters[2..]);
}

async fn keeps_the_decision_of_an_operator(fixture: StoreFixture) {
    let (outbox, lease) = (fixture.outbox(), acquire(&*fixture.outbox()).await);
    assert!(!outbox.resolve("sink", &id("a"), Resolution::Retry).await.unwrap(), "there is no dead letter");
    let letters = ["a", "b", "c"].map(|order_id| dead_letter(order_id, 2));
    let _ = outbox.advance(&lease.token, Position(2), &letters).await.unwrap();
    assert!(outbox.resolved_dead_letters("sink", 10).await.unwrap().is_empty());
    for (order_id, resolution) in
        [("c", Resolution::Retry), ("a", Resolution::Retry), ("a", Resolution::Drop)]
    {
        assert!(outbox.resolve("sink", &id(order_id), resolution).await.unwrap());
    }
    assert!(!outbox.resolve("other", &id("a"), Resolution::Retry).await.unwrap());
    let decided = |letter: &DeadLetter, how| DeadLetter { resolution: Some(how), ..letter.clone() };
    let expected = [decided(&letters[0], Resolution::Drop), decided(&letters[2], Resolution::Retry)];
    assert_eq!(outbox.resolved_dead_letters("sink", 10).await.unwrap(), expected);
    assert_eq!(outbox.resolved_dead_letters("sink", 1).await.unwrap(), expected[..1]);
    // A new dead letter of the order has no decision.
    let again = [dead_letter("a", 5)];
    let _ = outbox.advance(&lease.token, Position(2), &again).await.unwrap();
    assert_eq!(outbox.resolved_dead_letters("sink", 10).await.unwrap(), expected[1..]);
    assert_eq!(outbox.dead_letters("sink", None, 1).await.unwrap(), again);
}

async fn removes_a_resolved_dead_letter(fixture: StoreFixture) {
    let (outbox, lease) = (fixture.outbox(), acquire(&*fixture.outbox()).await);
    let letters = [dead_letter("a", 2), dead_letter("b", 3)];
    let _ = outbox.advance(&lease.token, Position(3), &letters).await.unwrap();
    // The order has another dead letter by now.
    assert_eq!(
        outbox.remove_dead_letter(&lease.token, &dead_letter("a", 1)).await.unwrap(),
        LeaseWrite::Done
    );
    assert_eq!(outbox.dead_letters("sink", None, 10).await.unwrap(), letters);
    assert_eq!(outbox.remove_dead_letter(&lease.token, &letters[0]).await.unwrap(), LeaseWrite::Done);
    assert_eq!(outbox.dead_letters("sink", None, 10).await.unwrap(), letters[1..]);
    let old = lease.token.clone();
    drop(lease);
    let _lease = acquire_again(&*outbox).await;
    assert_eq!(outbox.remove_dead_letter(&old, &letters[1]).await.unwrap(), LeaseWrite::Fenced);
    assert_eq!(outbox.dead_letters("sink", None, 10).await.unwrap(), letters[1..]);
}

async fn reports_the_status_of_a_sink(fixture: StoreFixture) {
    let outbox = fixture.outbox();
    assert_eq!(outbox.status("sink").await.unwrap(), None);
    let lease = acquire(&*outbox).await;
    let status = outbox.status("sink").await.unwrap().unwrap();
    assert_eq!(
        (status.cursor, status.has_leader, status.leader, status.dead_letters),
        (Position(0), true, None, 0)
    );
    let mut leader = LeaderStatus { name: "host:1".to_owned(), since: at(1), failure: None, stopped: None };
    assert_eq!(outbox.record_leader_status(&lease.token, &leader).await.unwrap(), LeaseWrite::Done);
    leader.failure = Some(("the broker is unavailable".to_owned(), at(2)));
    for stopped in [Some("the sink is ahead: \"ü\"".to_owned()), None, Some("again".to_owned())] {
        leader.stopped = stopped;
        assert_eq!(outbox.record_leader_status(&lease.token, &leader).await.unwrap(), LeaseWrite::Done);
        let status = outbox.status("sink").await.unwrap().unwrap();
        assert_eq!(status.leader.as_ref(), Some(&leader));
    }
    assert_eq!(outbox.record_leader_status(&lease.token, &leader).await.unwrap(), LeaseWrite::Done);
    let _ = outbox.advance(&lease.token, Position(7), &[dead_letter("a", 2)]).await.unwrap();
    let status = outbox.status("sink").await.unwrap().unwrap();
    assert_eq!((status.cursor, status.leader.as_ref(), status.dead_letters), (Position(7), Some(&leader), 1));
    let old = lease.token.clone();
    drop(lease);
    let lease = acquire_again(&*outbox).await;
    assert_eq!(outbox.record_leader_status(&old, &leader).await.unwrap(), LeaseWrite::Fenced);
    drop(lease);
    let free = async { while outbox.status("sink").await.unwrap().unwrap().has_leader {} };
    tokio::time::timeout(TIMEOUT, free).await.expect("the lease becomes free");
}

async fn remembers_a_sink(fixture: StoreFixture) {
    let outbox = fixture.outbox();
    assert_eq!(outbox.known_sink("sink").await.unwrap(), None);
    let first = KnownSink { partitions: 4, accepted: vec![EventId(1), EventId(u128::MAX)] };
    outbox.record_sink("sink", &first).await.unwrap();
    assert_eq!(outbox.known_sink("sink").await.unwrap(), Some(first));
    // The record needs no leader, and writing it does not affect one.
    let lease = acquire(&*outbox).await;
    assert_eq!(lease.cursor, Position(0));
    let second = KnownSink { partitions: 6, accepted: Vec::new() };
    outbox.record_sink("sink", &second).await.unwrap();
    assert_eq!(outbox.known_sink("sink").await.unwrap(), Some(second));
    assert_eq!(outbox.known_sink("other").await.unwrap(), None);
    let advanced = outbox.advance(&lease.token, Position(3), &[]).await.unwrap();
    assert_eq!(advanced, LeaseWrite::Done, "the leader is not fenced off");
}

async fn moves_the_cursor_back_under_a_new_fencing_token(fixture: StoreFixture) {
    let outbox = fixture.outbox();
    assert!(!outbox.republish("sink", Position(0)).await.unwrap(), "nothing was published");
    let lease = acquire(&*outbox).await;
    let _ = outbox.advance(&lease.token, Position(5), &[]).await.unwrap();
    for not_published in [5, 6] {
        assert!(!outbox.republish("sink", Position(not_published)).await.unwrap());
    }
    assert_eq!(outbox.advance(&lease.token, Position(6), &[]).await.unwrap(), LeaseWrite::Done);
    assert!(outbox.republish("sink", Position(2)).await.unwrap());
    assert_eq!(outbox.cursor("sink").await.unwrap(), Some(Position(2)));
    assert_eq!(outbox.advance(&lease.token, Position(7), &[]).await.unwrap(), LeaseWrite::Fenced);
    drop(lease);
    let lease = acquire_again(&*outbox).await;
    assert_eq!(lease.cursor, Position(2));
    assert_eq!(outbox.advance(&lease.token, Position(7), &[]).await.unwrap(), LeaseWrite::Done);
}

async fn metered_outbox_behaves_like_the_inner_one(fixture: StoreFixture) {
    let outbox = MeteredOutbox::new(fixture.outbox());
    let lease = acquire(&outbox).await;
    assert_eq!(
        outbox.advance(&lease.token, Position(3), &[dead_letter("a", 2)]).await.unwrap(),
        LeaseWrite::Done
    );
    assert_eq!(fixture.outbox().cursor("sink").await.unwrap(), outbox.cursor("sink").await.unwrap());
    assert_eq!(outbox.dead_letters("sink", None, 10).await.unwrap(), [dead_letter("a", 2)]);
    assert_eq!(
        outbox.remove_dead_letter(&lease.token, &dead_letter("a", 2)).await.unwrap(),
        LeaseWrite::Done
    );
    let old = lease.token.clone();
    drop(lease);
    let _lease = acquire_again(&outbox).await;
    assert_eq!(outbox.advance(&old, Position(9), &[]).await.unwrap(), LeaseWrite::Fenced);
}
