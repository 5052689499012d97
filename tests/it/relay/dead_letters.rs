//! What operators decide about dead letters, while the sink fails and the relay
//! crashes: every order's events arrive in sequence, but for what was given up.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use pvz::domain::OrderId;
use pvz::ports::Resolution;
use tokio_util::sync::CancellationToken;

use super::script::Step;
use super::{Scene, steps};
use crate::contract::given::id;
use crate::support::property;
use crate::support::runtime::block_on;

/// What an operator does about a dead letter.
#[derive(Debug, Clone, Copy)]
enum Decision {
    RetryInVain,
    RetryCured,
    Drop,
}

impl Scene {
    /// Decides about every letter there is, in their order, and about those
    /// that come of it; relays run, one after another, until there is none.
    async fn settle_letters(&self, mut decisions: VecDeque<Decision>) {
        let outbox = self.given.outbox();
        let mut relay = self.relay();
        loop {
            let buried = outbox.dead_letters("scripted", None, 100).await.unwrap();
            if buried.is_empty() {
                break;
            }
            for letter in buried.iter().filter(|letter| letter.resolution.is_none()) {
                let decision = decisions.pop_front().unwrap_or(Decision::RetryCured);
                let resolution = match decision {
                    Decision::RetryInVain => Resolution::Retry,
                    Decision::RetryCured => {
                        self.sink.cure(&letter.order_id, letter.sequence);
                        Resolution::Retry
                    }
                    Decision::Drop => {
                        let given_up = (letter.order_id.clone(), letter.sequence);
                        self.outbox.dropped.lock().unwrap().insert(given_up);
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
                ended = &mut relay => panic!("the relay ended by itself: {ended:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        self.stop.cancel();
        relay.await.unwrap();
    }

    /// Every event in sequence, but for those that were given up.
    fn all_but_dropped(&self) -> BTreeMap<OrderId, Vec<i64>> {
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
fn settled_letters_break_no_sequence_whatever_the_sink_does() {
    let poison = prop::collection::vec((0_usize..12, 1_i64..4), 1..6);
    let decision = prop_oneof![Just(Decision::RetryInVain), Just(Decision::RetryCured), Just(Decision::Drop)];
    let decisions = prop::collection::vec(decision, 0..10);
    let test = "relay::letters::settled_letters_break_no_sequence_whatever_the_sink_does";
    property::check(test, 200, &(1_usize..12, steps(), poison, decisions), |case| {
        let (orders, script, poison, decisions) = case;
        let poison: Vec<_> =
            poison.into_iter().map(|(order, sequence)| (id(&format!("order-{order}")), sequence)).collect();
        block_on(async {
            let scene = Scene::new(orders, &[], &poison).await;
            scene.run_to_the_end().await;
            scene.sink.continue_with(&script);
            let scene = Scene { stop: CancellationToken::new(), ..scene };
            scene.settle_letters(decisions.into()).await;
            assert_eq!(scene.first_written(), scene.all_but_dropped());
        });
    });
}

#[tokio::test]
async fn others_go_on_while_a_letter_waits_for_its_order() {
    let sick = id("order-2");
    let scene = Scene::new(6, &[Step::Write], &[(sick.clone(), 2)]).await;
    scene.run_to_the_end().await;
    assert_eq!(scene.first_written(), scene.expected(&[(sick.clone(), 2)]));
    let scene = Scene { stop: CancellationToken::new(), ..scene };
    scene.settle_letters([Decision::RetryInVain, Decision::RetryInVain, Decision::RetryCured].into()).await;
    assert_eq!(scene.first_written(), scene.expected(&[]), "in sequence, once it takes the event");
    assert_eq!(scene.given.outbox().held_back("scripted", &[sick].into()).await.unwrap(), [].into());
}
