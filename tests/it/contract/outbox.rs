//! What every outbox must do.

use pvz::adapters::metered::MeteredOutbox;
use pvz::ports::{Advance, DeadLetter, ErrorKind, LeaderNote, Lease, Outbox, Position, Resolution};

use super::given::{Given, at, id, on_every_store};
use crate::process::PATIENCE;

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
    outbox.lead("sink").await.unwrap().expect("nobody else leads")
}

/// A lead that was given back may take a moment to be free.
async fn lead_again(outbox: &dyn Outbox) -> Lease {
    lead_for(outbox, "sink").await
}

async fn lead_for(outbox: &dyn Outbox, sink: &str) -> Lease {
    let free = async {
        loop {
            match outbox.lead(sink).await.unwrap() {
                Some(lease) => break lease,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("the lead is free")
}

fn letter(order_id: &str, sequence: i64) -> DeadLetter {
    DeadLetter {
        order_id: id(order_id),
        sequence,
        position: Position(sequence),
        cause: format!("{order_id} is too large: \"ü\""),
        buried_at: at(sequence),
        resolution: None,
    }
}

async fn begins_before_the_first_event(given: Given) {
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), None);
    let lease = lead(&*given.outbox()).await;
    assert_eq!((lease.ticket.sink.as_str(), lease.cursor), ("sink", Position(0)));
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(0)));
    assert!(given.outbox().buried("sink", None, 10).await.unwrap().is_empty());
    assert!(given.outbox().held_back("sink", &[id("1")].into()).await.unwrap().is_empty());
}

async fn goes_on_where_the_last_lead_was(given: Given) {
    let lease = lead(&*given.outbox()).await;
    for position in [3, 3, 7] {
        let advanced = given.outbox().advance(&lease.ticket, Position(position), &[]).await.unwrap();
        assert_eq!(advanced, Advance::Done);
    }
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(7)));
    let first = lease.ticket.fence;
    drop(lease);
    let lease = lead_again(&*given.outbox()).await;
    assert_eq!(lease.cursor, Position(7));
    assert!(lease.ticket.fence > first);
}

async fn has_one_leader_at_a_time(given: Given) {
    let lease = lead(&*given.outbox()).await;
    assert!(given.outbox().lead("sink").await.unwrap().is_none());
    assert!(given.outbox().lead("another").await.unwrap().is_none(), "one relay, whatever the sink");
    let advanced = given.outbox().advance(&lease.ticket, Position(1), &[]).await.unwrap();
    assert_eq!(advanced, Advance::Done, "who asked in vain fenced nobody");
    drop(lease);
    lead_again(&*given.outbox()).await;
}

async fn does_nothing_for_a_leader_of_yesterday(given: Given) {
    let paused = lead(&*given.outbox()).await;
    // The lead is lost with the connection, the ticket is still in hand.
    let ticket = paused.ticket.clone();
    drop(paused);
    let lease = lead_again(&*given.outbox()).await;
    let late = given.outbox().advance(&ticket, Position(9), &[letter("1", 1)]).await.unwrap();
    assert_eq!(late, Advance::Fenced);
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(0)));
    assert!(given.outbox().buried("sink", None, 10).await.unwrap().is_empty());
    let advanced = given.outbox().advance(&lease.ticket, Position(5), &[]).await.unwrap();
    assert_eq!(advanced, Advance::Done);
}

async fn moves_no_cursor_back(given: Given) {
    let lease = lead(&*given.outbox()).await;
    let _ = given.outbox().advance(&lease.ticket, Position(5), &[]).await.unwrap();
    let back = given.outbox().advance(&lease.ticket, Position(4), &[letter("1", 1)]).await;
    assert_eq!(back.unwrap_err().kind(), ErrorKind::Inconsistent);
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(5)));
    assert!(given.outbox().buried("sink", None, 10).await.unwrap().is_empty());
}

async fn keeps_a_cursor_for_each_sink(given: Given) {
    let lease = lead(&*given.outbox()).await;
    let letters = [letter("1", 1)];
    let _ = given.outbox().advance(&lease.ticket, Position(5), &letters).await.unwrap();
    drop(lease);
    let other = lead_for(&*given.outbox(), "other").await;
    assert_eq!(other.cursor, Position(0));
    let _ = given.outbox().advance(&other.ticket, Position(2), &[]).await.unwrap();
    assert!(given.outbox().buried("other", None, 10).await.unwrap().is_empty());
    assert!(given.outbox().held_back("other", &[id("1")].into()).await.unwrap().is_empty());
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), Some(Position(5)));
}

async fn holds_back_what_was_buried(given: Given) {
    let lease = lead(&*given.outbox()).await;
    let letters = [letter("b", 3), letter("a", 2)];
    let _ = given.outbox().advance(&lease.ticket, Position(0), &letters).await.unwrap();
    let asked = ["a", "b", "c"].map(id).into();
    let held = given.outbox().held_back("sink", &asked).await.unwrap();
    assert_eq!(held, [(id("a"), 2), (id("b"), 3)].into());
    assert!(given.outbox().held_back("sink", &[id("c")].into()).await.unwrap().is_empty());
    // Said again, it is the same letter.
    let _ = given.outbox().advance(&lease.ticket, Position(4), &letters[..1]).await.unwrap();
    assert_eq!(given.outbox().buried("sink", None, 10).await.unwrap(), [letter("a", 2), letter("b", 3)]);
}

async fn lists_dead_letters_in_pages(given: Given) {
    let lease = lead(&*given.outbox()).await;
    let letters: Vec<DeadLetter> =
        ["a", "b", "c", "d", "e"].iter().zip(1..).map(|(order_id, n)| letter(order_id, n)).collect();
    let _ = given.outbox().advance(&lease.ticket, Position(5), &letters).await.unwrap();
    let first = given.outbox().buried("sink", None, 2).await.unwrap();
    assert_eq!(first, letters[..2]);
    let rest = given.outbox().buried("sink", Some(&first[1].order_id), 10).await.unwrap();
    assert_eq!(rest, letters[2..]);
}

async fn keeps_what_an_operator_decided(given: Given) {
    let (outbox, lease) = (given.outbox(), lead(&*given.outbox()).await);
    assert!(!outbox.resolve("sink", &id("a"), Resolution::Retry).await.unwrap(), "there is no letter");
    let letters = ["a", "b", "c"].map(|order_id| letter(order_id, 2));
    let _ = outbox.advance(&lease.ticket, Position(2), &letters).await.unwrap();
    assert!(outbox.resolved("sink", 10).await.unwrap().is_empty());
    for (order_id, resolution) in
        [("c", Resolution::Retry), ("a", Resolution::Retry), ("a", Resolution::Drop)]
    {
        assert!(outbox.resolve("sink", &id(order_id), resolution).await.unwrap());
    }
    assert!(!outbox.resolve("other", &id("a"), Resolution::Retry).await.unwrap());
    let decided = |letter: &DeadLetter, how| DeadLetter { resolution: Some(how), ..letter.clone() };
    let expected = [decided(&letters[0], Resolution::Drop), decided(&letters[2], Resolution::Retry)];
    assert_eq!(outbox.resolved("sink", 10).await.unwrap(), expected);
    assert_eq!(outbox.resolved("sink", 1).await.unwrap(), expected[..1]);
    // Refused again, there is nothing decided about it.
    let again = [letter("a", 5)];
    let _ = outbox.advance(&lease.ticket, Position(2), &again).await.unwrap();
    assert_eq!(outbox.resolved("sink", 10).await.unwrap(), expected[1..]);
    assert_eq!(outbox.buried("sink", None, 1).await.unwrap(), again);
}

async fn takes_a_settled_letter_away(given: Given) {
    let (outbox, lease) = (given.outbox(), lead(&*given.outbox()).await);
    let letters = [letter("a", 2), letter("b", 3)];
    let _ = outbox.advance(&lease.ticket, Position(3), &letters).await.unwrap();
    // Another letter of the order by now.
    assert_eq!(outbox.unbury(&lease.ticket, &letter("a", 1)).await.unwrap(), Advance::Done);
    assert_eq!(outbox.buried("sink", None, 10).await.unwrap(), letters);
    assert_eq!(outbox.unbury(&lease.ticket, &letters[0]).await.unwrap(), Advance::Done);
    assert_eq!(outbox.buried("sink", None, 10).await.unwrap(), letters[1..]);
    let old = lease.ticket.clone();
    drop(lease);
    let _lease = lead_again(&*outbox).await;
    assert_eq!(outbox.unbury(&old, &letters[1]).await.unwrap(), Advance::Fenced);
    assert_eq!(outbox.buried("sink", None, 10).await.unwrap(), letters[1..]);
}

async fn tells_how_it_goes(given: Given) {
    let outbox = given.outbox();
    assert_eq!(outbox.status("sink").await.unwrap(), None);
    let lease = lead(&*outbox).await;
    let status = outbox.status("sink").await.unwrap().unwrap();
    assert_eq!((status.cursor, status.led, status.note, status.dead_letters), (Position(0), true, None, 0));
    let mut note = LeaderNote { leader: "host:1".to_owned(), since: at(1), failure: None };
    assert_eq!(outbox.note(&lease.ticket, &note).await.unwrap(), Advance::Done);
    note.failure = Some(("the broker is away".to_owned(), at(2)));
    assert_eq!(outbox.note(&lease.ticket, &note).await.unwrap(), Advance::Done);
    let _ = outbox.advance(&lease.ticket, Position(7), &[letter("a", 2)]).await.unwrap();
    let status = outbox.status("sink").await.unwrap().unwrap();
    assert_eq!((status.cursor, status.note.as_ref(), status.dead_letters), (Position(7), Some(&note), 1));
    let old = lease.ticket.clone();
    drop(lease);
    let lease = lead_again(&*outbox).await;
    assert_eq!(outbox.note(&old, &note).await.unwrap(), Advance::Fenced);
    drop(lease);
    let free = async { while outbox.status("sink").await.unwrap().unwrap().led {} };
    tokio::time::timeout(PATIENCE, free).await.expect("nobody leads");
}

async fn measures_without_changing_anything(given: Given) {
    let outbox = MeteredOutbox::new(given.outbox());
    let lease = lead(&outbox).await;
    assert_eq!(outbox.advance(&lease.ticket, Position(3), &[letter("a", 2)]).await.unwrap(), Advance::Done);
    assert_eq!(given.outbox().cursor("sink").await.unwrap(), outbox.cursor("sink").await.unwrap());
    assert_eq!(outbox.buried("sink", None, 10).await.unwrap(), [letter("a", 2)]);
    assert_eq!(outbox.unbury(&lease.ticket, &letter("a", 2)).await.unwrap(), Advance::Done);
    let old = lease.ticket.clone();
    drop(lease);
    let _lease = lead_again(&outbox).await;
    assert_eq!(outbox.advance(&old, Position(9), &[]).await.unwrap(), Advance::Fenced);
}
