//! What the PostgreSQL store must do beyond the ports: share a database with
//! other replicas, and live through its failures.

mod cdc;
pub mod cluster;
mod explain;
mod faults;
mod feed;
mod in_doubt;
pub mod inbox;
mod notifications;
mod pipelined_connections;
mod plans;
mod planted;
mod process;
mod proxy;
mod races;
mod replicas;
mod schema;
mod standby;
mod tls;
mod views;

use std::sync::Arc;

use pvz::adapters::system::SystemIds;
use pvz::app::{BatchDecider, Entry, verify};
use pvz::domain::{Policy, Reason};
use pvz::ports::{OrderStore, Outcome, PortError};

use crate::support::commands::{TestCommand, point};
use crate::support::time::TestClock;

/// Runs commands as one batch, under the default policy, at that many
/// microseconds after every test begins.
async fn run_later(
    store: &dyn OrderStore,
    asks: &[TestCommand],
    later: i64,
) -> Result<Vec<Outcome>, PortError> {
    let policy = Arc::new(Policy::standard(point("main")));
    let clock = TestClock::default();
    clock.advance(later);
    let entry = |ask: &TestCommand| {
        Arc::new(Entry::new(ask.command.clone(), ask.actor.clone(), "", ask.key.clone(), &policy))
    };
    let entries = asks.iter().map(entry).collect();
    let decider = Arc::new(BatchDecider::new(entries, policy.clone(), Arc::new(clock), Arc::new(SystemIds)));
    store.transact(decider.batch(), decider).await
}

async fn run(store: &dyn OrderStore, asks: &[TestCommand]) -> Result<Vec<Outcome>, PortError> {
    run_later(store, asks, 0).await
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    outcome.answer.as_ref().err().map(|refusal| refusal.reason)
}

/// The oracle: says how many orders and events there are.
async fn check(store: &dyn OrderStore) -> (u64, u64) {
    let report = loop {
        match verify(store, |_| {}).await {
            Ok(report) => break report,
            // A connection of the pool may have been killed by the test.
            Err(error) => assert!(error.retryable(), "{error:?}"),
        }
    };
    assert_eq!(report.differences, [], "every row is the fold of its events");
    (report.orders, report.events)
}
