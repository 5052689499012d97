//! A counter where an order stands in every situation of the contract's table
//! at one instant.

use std::sync::Arc;

use pvz::adapters::memory::MemoryStore;
use pvz::domain::{Accept, BatchMode};

use super::commands::{accept, bring_back, issue, parcel, to_courier};
use super::time::{DAY, HOUR, START, at};
use super::world::World;

/// When the town is looked at.
pub const NOW: i64 = START + 100 * HOUR;

/// The orders, each named after its situation: unknown; stored; its deadline is
/// now; issued an hour ago; issued as long ago as the return window is; brought
/// back; handed over after its deadline; handed over after it was brought back.
pub const SITUATIONS: [&str; 8] =
    ["none1", "stored1", "expired1", "issued1", "closed1", "returned1", "gone1", "gone2"];

/// The parcel as it was accepted; everything is customer `c1`'s, at `main`.
pub fn accepted(situation: &str) -> Accept {
    let until = match situation {
        "expired1" => NOW,
        "gone1" => START + DAY,
        _ => START + 30 * DAY,
    };
    Accept { storage_until: at(until), ..parcel(situation) }
}

/// A fresh town.
pub fn town() -> World {
    let world = World::new(Arc::new(MemoryStore::new([7; 32])));
    let done = |asks: &[_]| world.run(asks).iter().for_each(|outcome| assert!(outcome.answer.is_ok()));
    let arrivals: Vec<_> = SITUATIONS[1..].iter().map(|order| accept(accepted(order))).collect();
    done(&arrivals);
    world.clock.set(NOW - 48 * HOUR);
    done(&[issue(&["closed1"], BatchMode::Atomic)]);
    world.clock.set(NOW - HOUR);
    done(&[
        issue(&["issued1", "returned1", "gone2"], BatchMode::Atomic),
        bring_back("returned1", "c1", None),
        bring_back("gone2", "c1", None),
        to_courier(&["gone1", "gone2"], None, BatchMode::Atomic),
    ]);
    world.clock.set(NOW);
    world
}
