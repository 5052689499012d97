//! What every clock and every source of ids must do.

use std::collections::HashSet;

use pvz::adapters::system::{SystemClock, SystemIds};
use pvz::domain::Timestamp;
use pvz::ports::{Clock, Ids};

use super::given::at;

fn tells_a_time_that_goes_on(clock: &dyn Clock) {
    let first = clock.now();
    // The contract lets a clock run backwards, but not stand still for ever.
    while clock.now() == first {
        std::thread::yield_now();
    }
}

/// The instant of a UUIDv7, in milliseconds since the epoch.
fn millis(event_id: pvz::domain::EventId) -> u128 {
    event_id.0 >> 80
}

fn makes_ids_that_differ_and_carry_their_instant(ids: &dyn Ids) {
    let made: HashSet<_> = (0..10_000).map(|n| ids.event_id(at(n))).collect();
    assert_eq!(made.len(), 10_000);
    for instant in [at(0), at(123_456), Timestamp::from_micros(0).unwrap()] {
        let event_id = ids.event_id(instant);
        assert_eq!(millis(event_id), u128::try_from(instant.micros() / 1_000).unwrap());
        assert_eq!(event_id.0 >> 76 & 0xf, 7, "the version");
        assert_eq!(event_id.0 >> 62 & 0b11, 0b10, "the variant of RFC 9562");
    }
}

fn makes_correlation_ids_that_a_header_takes(ids: &dyn Ids) {
    let made: HashSet<String> = (0..1_000).map(|_| ids.correlation_id()).collect();
    assert_eq!(made.len(), 1_000);
    for correlation_id in made {
        assert!((1..=128).contains(&correlation_id.len()), "{correlation_id:?}");
        assert!(correlation_id.bytes().all(|byte| byte.is_ascii_graphic()), "{correlation_id:?}");
    }
}

#[test]
fn the_system_clock() {
    tells_a_time_that_goes_on(&SystemClock);
}

#[test]
fn the_system_ids() {
    makes_ids_that_differ_and_carry_their_instant(&SystemIds);
    makes_correlation_ids_that_a_header_takes(&SystemIds);
}
