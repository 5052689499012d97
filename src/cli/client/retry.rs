//! How long to wait before a call is repeated.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubling pauses, each shortened at random by up to a half, so that clients
/// that failed together do not come back together.
#[derive(Debug)]
pub(in crate::cli) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    /// From the shortest pause on.
    pub(in crate::cli) fn new() -> Self {
        Self { ceiling: FIRST }
    }

    /// The next pause; never shorter than what the server asked for.
    pub(in crate::cli) fn next(&mut self, asked: Option<Duration>) -> Duration {
        // Without randomness the full pause will do.
        let fraction = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        let jittered = self.ceiling.mul_f64(0.5 + fraction / 2.0);
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        jittered.max(asked.unwrap_or_default())
    }

    /// Begins again: something succeeded.
    pub(in crate::cli) fn reset(&mut self) {
        self.ceiling = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_bounds_and_honour_the_server() {
        let mut backoff = Backoff::new();
        for ceiling in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let pause = backoff.next(None);
            assert!(pause <= Duration::from_millis(ceiling), "{pause:?} of {ceiling}");
            assert!(pause >= Duration::from_millis(ceiling / 2), "{pause:?} of {ceiling}");
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(9))), Duration::from_secs(9));
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
    }
}
