//! What every outbox must do.

use pvz::adapters::metered::MeteredOutbox;
use pvz::ports::{DeadLetter, ErrorKind, LeaderStatus, Lease, LeaseWrite, Outbox, Position, Resolution};

use super::given::{Given, at, id, on_every_store};
use crate::process::TIMEOUT;

on_every_store! {
    begins_before_the_first_event,
    goes_on_where_the_last_lead_was,
    has_one_leader_at_a_time,
    does_nothing_for_a_leader_of_yesterday,
    moves_no_cursor_back,
    keeps_a_cursor_for_each_sink,
    holds_back_what_was_buried,
    lists_dead_letters_in_pages,
    keeps_what_an_operator_decided,
    takes_a_settled_letter_away,
    tells_how_it_goes,
    measures_without_changing_anything,
}

async fn lead(outbox: &dyn Outbox) -> Lease {
    outbox.acquire_lease("sink").await.unwrap().expect("nobody else leads")
}

/// A lead that was given back may take a moment to be free.
async fn lead_again(outbox: &dyn Outbox) -> Lease {
    lead_for(outbox, "sink").await
}

async fn lead_for(outbox: &dyn Outbox, sink: &str) -> Lease {
    let free = async {
        loop {
            match outbox.acquire_lease(sink).await.unwrap() {
                Some(lease) => break lease,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(TIMEOUT, free).await.expect("the lead is free")
}

fn letter(order_id: &str, sequence: i64) -> DeadLetter {
    DeadLetter {
        order_id: id(order_id),
        sequence,
        position: Position(sequence),
        cause: format!("{order_id} is too large: \"ü\""),
        refused_at: at(sequence),
        resolution: None,
    }
}

async fn begins_before_the_first_event(given: Given) {
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), None);
    let lease = lead(&*given.outbox()).await;
    assert_eq!((lease.token.sink.as_str(), lease.cursor), ("sink", Position(0)));
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(0)));
    assert!(given.outbox().dead_letters("sink", None, 10).await.unwrap().is_empty());
    assert!(given.outbox().held_back("sink", &[id("1")].into()).await.unwrap().is_empty());
}

async fn goes_on_where_the_last_lead_was(given: Given) {
    let lease = lead(&*given.outbox()).await;
    for position in [3, 3, 7] {
        let advanced = given.outbox().advance(&lease.token, Position(position), &[]).await.unwrap();
        assert_eq!(advanced, LeaseWrite::Done);
    }
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(7)));
    let first = lease.token.fencing_token;
    drop(lease);
    let lease = lead_again(&*given.outbox()).await;
    assert_eq!(lease.cursor, Position(7));
    assert!(lease.token.fencing_token > first);
}

async fn has_one_leader_at_a_time(given: Given) {
    let lease = lead(&*given.outbox()).await;
    assert!(given.outbox().acquire_lease("sink").await.unwrap().is_none());
    assert!(given.outbox().acquire_lease("another").await.unwrap().is_none(), "one relay, whatever the sink");
    let advanced = given.outbox().advance(&lease.token, Position(1), &[]).await.unwrap();
    assert_eq!(advanced, LeaseWrite::Done, "who asked in vain fenced nobody");
    drop(lease);
    lead_again(&*given.outbox()).await;
}

async fn does_nothing_for_a_leader_of_yesterday(given: Given) {
    let paused = lead(&*given.outbox()).await;
    // The lead is lost with the connection, the token is still in hand.
    let token = paused.token.clone();
    drop(paused);
    let lease = lead_again(&*given.outbox()).await;
    let late = given.outbox().advance(&token, Position(9), &[letter("1", 1)]).await.unwrap();
    assert_eq!(late, LeaseWrite::Fenced);
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(0)));
    assert!(given.outbox().dead_letters("sink", None, 10).await.unwrap().is_empty());
    let advanced = given.outbox().advance(&lease.token, Position(5), &[]).await.unwrap();
    assert_eq!(advanced, LeaseWrite::Done);
}

async fn moves_no_cursor_back(given: Given) {
    let lease = lead(&*given.outbox()).await;
    let _ = given.outbox().advance(&lease.token, Position(5), &[]).await.unwrap();
    let back = given.outbox().advance(&lease.token, Position(4), &[letter("1", 1)]).await;
    assert_eq!(back.unwrap_err().kind(), ErrorKind::Inconsistent);
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(5)));
    assert!(given.outbox().dead_letters("sink", None, 10).await.unwrap().is_empty());
}

async fn keeps_a_cursor_for_each_sink(given: Given) {
    let lease = lead(&*given.outbox()).await;
    let letters = [letter("1", 1)];
    let _ = given.outbox().advance(&lease.token, Position(5), &letters).await.unwrap();
    drop(lease);
    let other = lead_for(&*given.outbox(), "other").await;
    assert_eq!(other.cursor, Position(0));
    let _ = given.outbox().advance(&other.token, Position(2), &[]).await.unwrap();
    assert!(given.outbox().dead_letters("other", None, 10).await.unwrap().is_empty());
    assert!(given.outbox().held_back("other", &[id("1")].into()).await.unwrap().is_empty());
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(5)));
}

async fn holds_back_what_was_buried(given: Given) {
    let lease = lead(&*given.outbox()).await;
    let letters = [letter("b", 3), letter("a", 2)];
    let _ = given.outbox().advance(&lease.token, Position(0), &letters).await.unwrap();
    let asked = ["a", "b", "c"].map(id).into();
    let held = given.outbox().held_back("sink", &asked).await.unwrap();
    assert_eq!(held, [(id("a"), 2), (id("b"), 3)].into());
    assert!(given.outbox().held_back("sink", &[id("c")].into()).await.unwrap().is_empty());
    // Said again, it is the same letter.
    let _ = given.outbox().advance(&lease.token, Position(4), &letters[..1]).await.unwrap();
    assert_eq!(
        given.outbox().dead_letters("sink", None, 10).await.unwrap(),
        [letter("a", 2), letter("b", 3)]
    );
}

async fn lists_dead_letters_in_pages(given: Given) {
    let lease = lead(&*given.outbox()).await;
    let letters: Vec<DeadLetter> =
        ["a", "b", "c", "d", "e"].iter().zip(1..).map(|(order_id, n)| letter(order_id, n)).collect();
    let _ = given.outbox().advance(&lease.token, Position(5), &letters).await.unwrap();
    let first = given.outbox().dead_letters("sink", None, 2).await.unwrap();
    assert_eq!(first, letters[..2]);
    let rest = given.outbox().dead_letters("sink", Some(&first[1].order_id), 10).await.unwrap();
    assert_eq!(rest, letters[2..]);
}

async fn keeps_what_an_operator_decided(given: Given) {
    let (outbox, lease) = (given.outbox(), lead(&*given.outbox()).await);
    assert!(!outbox.resolve("sink", &id("a"), Resolution::Retry).await.unwrap(), "there is no letter");
    let letters = ["a", "b", "c"].map(|order_id| letter(order_id, 2));
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
    // Refused again, there is nothing decided about it.
    let again = [letter("a", 5)];
    let _ = outbox.advance(&lease.token, Position(2), &again).await.unwrap();
    assert_eq!(outbox.resolved_dead_letters("sink", 10).await.unwrap(), expected[1..]);
    assert_eq!(outbox.dead_letters("sink", None, 1).await.unwrap(), again);
}

async fn takes_a_settled_letter_away(given: Given) {
    let (outbox, lease) = (given.outbox(), lead(&*given.outbox()).await);
    let letters = [letter("a", 2), letter("b", 3)];
    let _ = outbox.advance(&lease.token, Position(3), &letters).await.unwrap();
    // Another letter of the order by now.
    assert_eq!(outbox.remove_dead_letter(&lease.token, &letter("a", 1)).await.unwrap(), LeaseWrite::Done);
    assert_eq!(outbox.dead_letters("sink", None, 10).await.unwrap(), letters);
    assert_eq!(outbox.remove_dead_letter(&lease.token, &letters[0]).await.unwrap(), LeaseWrite::Done);
    assert_eq!(outbox.dead_letters("sink", None, 10).await.unwrap(), letters[1..]);
    let old = lease.token.clone();
    drop(lease);
    let _lease = lead_again(&*outbox).await;
    assert_eq!(outbox.remove_dead_letter(&old, &letters[1]).await.unwrap(), LeaseWrite::Fenced);
    assert_eq!(outbox.dead_letters("sink", None, 10).await.unwrap(), letters[1..]);
}

async fn tells_how_it_goes(given: Given) {
    let outbox = given.outbox();
    assert_eq!(outbox.status("sink").await.unwrap(), None);
    let lease = lead(&*outbox).await;
    let status = outbox.status("sink").await.unwrap().unwrap();
    assert_eq!(
        (status.cursor, status.has_leader, status.leader, status.dead_letters),
        (Position(0), true, None, 0)
    );
    let mut leader = LeaderStatus { name: "host:1".to_owned(), since: at(1), failure: None };
    assert_eq!(outbox.record_leader_status(&lease.token, &leader).await.unwrap(), LeaseWrite::Done);
    leader.failure = Some(("the broker is away".to_owned(), at(2)));
    assert_eq!(outbox.record_leader_status(&lease.token, &leader).await.unwrap(), LeaseWrite::Done);
    let _ = outbox.advance(&lease.token, Position(7), &[letter("a", 2)]).await.unwrap();
    let status = outbox.status("sink").await.unwrap().unwrap();
    assert_eq!((status.cursor, status.leader.as_ref(), status.dead_letters), (Position(7), Some(&leader), 1));
    let old = lease.token.clone();
    drop(lease);
    let lease = lead_again(&*outbox).await;
    assert_eq!(outbox.record_leader_status(&old, &leader).await.unwrap(), LeaseWrite::Fenced);
    drop(lease);
    let free = async { while outbox.status("sink").await.unwrap().unwrap().has_leader {} };
    tokio::time::timeout(TIMEOUT, free).await.expect("nobody leads");
}

async fn measures_without_changing_anything(given: Given) {
    let outbox = MeteredOutbox::new(given.outbox());
    let lease = lead(&outbox).await;
    assert_eq!(outbox.advance(&lease.token, Position(3), &[letter("a", 2)]).await.unwrap(), LeaseWrite::Done);
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), outbox.cursor("sink").await.unwrap());
    assert_eq!(outbox.dead_letters("sink", None, 10).await.unwrap(), [letter("a", 2)]);
    assert_eq!(outbox.remove_dead_letter(&lease.token, &letter("a", 2)).await.unwrap(), LeaseWrite::Done);
    let old = lease.token.clone();
    drop(lease);
    let _lease = lead_again(&outbox).await;
    assert_eq!(outbox.advance(&old, Position(9), &[]).await.unwrap(), LeaseWrite::Fenced);
}
