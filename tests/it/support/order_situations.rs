//! A store with one order in every situation of the contract's table.

use std::sync::Arc;

use pvz::adapters::memory::MemoryStore;
use pvz::domain::{Accept, BatchMode};

use super::command_runner::CommandRunner;
use super::commands::{accept, accept_return, issue, parcel, to_courier};
use super::time::{DAY, HOUR, START, at};

/// The time at which the orders are in their situations.
pub const NOW: i64 = START + 100 * HOUR;

/// The orders, each named after its situation: unknown; stored; storage deadline
/// is now; issued an hour ago; return window closes now; returned; handed to the
/// courier after the storage deadline; handed to the courier after a return.
pub const SITUATIONS: [&str; 8] =
    ["none1", "stored1", "expired1", "issued1", "closed1", "returned1", "gone1", "gone2"];

/// Returns an order as it was accepted, for customer `c1` at the default pickup
/// point.
pub fn accepted(situation: &str) -> Accept {
    let until = match situation {
        "expired1" => NOW,
        "gone1" => START + DAY,
        _ => START + 30 * DAY,
    };
    Accept { storage_until: at(until), ..parcel(situation) }
}

/// Returns a memory store with the orders of [`SITUATIONS`], at the time [`NOW`].
pub fn orders_in_every_situation() -> CommandRunner {
    let runner = CommandRunner::new(Arc::new(MemoryStore::new([7; 32])));
    let run = |commands: &[_]| {
        runner.run(commands).iter().for_each(|outcome| assert!(outcome.answer.is_ok()));
    };
    let accepts: Vec<_> = SITUATIONS[1..].iter().map(|order| accept(accepted(order))).collect();
    run(&accepts);
    runner.clock.set(NOW - 48 * HOUR);
    run(&[issue(&["closed1"], BatchMode::Atomic)]);
    runner.clock.set(NOW - HOUR);
    run(&[
        issue(&["issued1", "returned1", "gone2"], BatchMode::Atomic),
        accept_return("returned1", "c1", None),
        accept_return("gone2", "c1", None),
        to_courier(&["gone1", "gone2"], None, BatchMode::Atomic),
    ]);
    runner.clock.set(NOW);
    runner
}
