//! Tests of the resolution of dead letters while the sink fails and the relay crashes: the events of
//! every order arrive in sequence, except those that the operator dropped.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use pvz::domain::OrderId;
use pvz::ports::Resolution;
use tokio_util::sync::CancellationToken;

use super::doubles::SinkAction;
use super::{RelayFixture, sink_actions};
use crate::contract::fixtures::id;
use crate::support::property;
use crate::support::runtime::block_on;

/// An operator's decision about a dead letter.
#[derive(Debug, Clone, Copy)]
enum Decision {
    /// The sink refuses the event again.
    RetryRefused,
    /// The sink accepts the event.
    RetryAccepted,
    Drop,
}

impl RelayFixture {
    /// Resolves every dead letter, in order, including those created by a retry. Relays run, one after
    /// another, until none is left.
    async fn resolve_dead_letters(&self, mut decisions: VecDeque<Decision>) {
        let outbox = self.stores.outbox();
        let mut relay = self.relay();
        loop {
            let dead_letters = outbox.dead_letters("scripted", None, 100).await.unwrap();
            if dead_letters.is_empty() {
                break;
            }
            for letter in dead_letters.iter().filter(|letter| letter.resolution.is_none()) {
                let decision = decisions.pop_front().unwrap_or(Decision::RetryAccepted);
                let resolution = match decision {
                    Decision::RetryRefused => Resolution::Retry,
                    Decision::RetryAccepted => {
                        self.sink.remove_poison(&letter.order_id, letter.sequence);
                        Resolution::Retry
                    }
                    Decision::Drop => {
                        let dropped = (letter.order_id.clone(), letter.sequence);
                        self.outbox.dropped.lock().unwrap().insert(dropped);
                        Resolution::Drop
                    }
                };
                assert!(outbox.resolve("scripted", &letter.order_id, resolution).await.unwrap());
            }
            tokio::select! {
                biased;
                () = self.sink.crash.notified() => {
                    relay.abort();
                    assert!(relay.await.unwrap_err().is_cancelled());
                    relay = self.relay();
                }
                ended = &mut relay => panic!("the relay ended unexpectedly: {ended:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        self.stop.cancel();
        relay.await.unwrap();
    }

    /// Returns the sequences of every order, without the dropped events.
    fn all_except_dropped(&self) -> BTreeMap<OrderId, Vec<i64>> {
        let dropped = self.outbox.dropped.lock().unwrap();
        let mut all: BTreeMap<OrderId, Vec<i64>> = BTreeMap::new();
        for logged in &self.outbox.log {
            let id = (logged.event.order.order_id.clone(), logged.event.sequence);
            if !dropped.contains(&id) {
                all.entry(id.0).or_default().push(id.1);
            }
        }
        all
    }
}

#[test]
fn resolved_dead_letters_keep_the_sequence() {
    let poison = prop::collection::vec((0_usize..12, 1_i64..4), 1..6);
    let decision =
        prop_oneof![Just(Decision::RetryRefused), Just(Decision::RetryAccepted), Just(Decision::Drop)];
    let decisions = prop::collection::vec(decision, 0..10);
    let test = "relay::dead_letters::resolved_dead_letters_keep_the_sequence";
    property::check(test, 200, &(1_usize..12, sink_actions(), poison, decisions), |case| {
        let (orders, script, poison, decisions) = case;
        let poison: Vec<_> =
            poison.into_iter().map(|(order, sequence)| (id(&format!("order-{order}")), sequence)).collect();
        block_on(async {
            let fixture = RelayFixture::new(orders, &[], &poison).await;
            fixture.run_to_the_end().await;
            fixture.sink.continue_with(&script);
            let fixture = RelayFixture { stop: CancellationToken::new(), ..fixture };
            fixture.resolve_dead_letters(decisions.into()).await;
            assert_eq!(fixture.first_written(), fixture.all_except_dropped());
        });
    });
}

#[tokio::test]
async fn other_orders_continue_while_a_dead_letter_waits() {
    let poisoned = id("order-2");
    let fixture = RelayFixture::new(6, &[SinkAction::Write], &[(poisoned.clone(), 2)]).await;
    fixture.run_to_the_end().await;
    assert_eq!(fixture.first_written(), fixture.expected(&[(poisoned.clone(), 2)]));
    let fixture = RelayFixture { stop: CancellationToken::new(), ..fixture };
    fixture
        .resolve_dead_letters(
            [Decision::RetryRefused, Decision::RetryRefused, Decision::RetryAccepted].into(),
        )
        .await;
    assert_eq!(
        fixture.first_written(),
        fixture.expected(&[]),
        "in sequence, after the sink accepts the event"
    );
    assert_eq!(fixture.stores.outbox().held_back("scripted", &[poisoned].into()).await.unwrap(), [].into());
}
