//! Tests of the PostgreSQL store beyond the port contracts: replicas that share a
//! database, failures, query plans and the schema.

mod cdc;
pub mod cluster;
mod explain;
mod failover;
mod faults;
mod feed;
mod in_doubt;
pub mod inbox;
mod migrations;
mod notifications;
mod order_cache;
mod pipelined_connections;
mod plans;
mod pooler;
mod process;
mod proxy;
mod races;
mod readiness;
mod removed_guards;
mod replicas;
mod roles;
mod schema;
mod standby;
mod synchronous_replication;
mod tls;
mod views;

use std::sync::Arc;

use pvz::adapters::system::SystemIds;
use pvz::app::{BatchDecider, Entry, verify};
use pvz::domain::{Policy, Reason};
use pvz::ports::{OrderStore, Outcome, PortError};

use crate::support::commands::{TestCommand, point};
use crate::support::time::TestClock;

/// Runs commands as one batch under the default policy, `micros` after the start
/// of the test clock.
async fn run_at(
    store: &dyn OrderStore,
    commands: &[TestCommand],
    micros: i64,
) -> Result<Vec<Outcome>, PortError> {
    let policy = Arc::new(Policy::standard(point("main")));
    let clock = TestClock::default();
    clock.advance(micros);
    let entry = |command: &TestCommand| {
        Arc::new(Entry::new(command.command.clone(), command.actor.clone(), "", command.key.clone(), &policy))
    };
    let entries = commands.iter().map(entry).collect();
    let decider = Arc::new(BatchDecider::new(entries, policy.clone(), Arc::new(clock), Arc::new(SystemIds)));
    store.transact(decider.batch(), decider).await
}

async fn run(store: &dyn OrderStore, commands: &[TestCommand]) -> Result<Vec<Outcome>, PortError> {
    run_at(store, commands, 0).await
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    outcome.answer.as_ref().err().map(|refusal| refusal.reason)
}

/// Asserts that every order matches its events. Returns the numbers of orders and
/// events.
async fn verified_counts(store: &dyn OrderStore) -> (u64, u64) {
    let report = loop {
        match verify(store, |_| {}).await {
            Ok(report) => break report,
            // The test may have killed a connection of the pool.
            Err(error) => assert!(error.retryable(), "{error:?}"),
        }
    };
    assert_eq!(report.differences, [], "every order row matches its events");
    (report.orders, report.events)
}
