//! The pauses between retries.

use std::time::Duration;

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Exponential backoff: doubling pauses, each shortened at random by up to half,
/// so that clients that failed together do not retry together.
#[derive(Debug)]
pub(in crate::cli) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    /// Begins with the shortest pause.
    pub(in crate::cli) fn new() -> Self {
        Self { ceiling: MIN_PAUSE }
    }

    /// Returns the next pause, at least as long as the server asked for.
    pub(in crate::cli) fn next(&mut self, asked: Option<Duration>) -> Duration {
        // Without random numbers, wait for the full pause.
        let fraction = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        let jittered = self.ceiling.mul_f64(0.5 + fraction / 2.0);
        self.ceiling = (self.ceiling * 2).min(MAX_PAUSE);
        jittered.max(asked.unwrap_or_default())
    }

    /// Begins again with the shortest pause, after a success.
    pub(in crate::cli) fn reset(&mut self) {
        self.ceiling = MIN_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_respect_the_server() {
        let mut backoff = Backoff::new();
        for ceiling in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let pause = backoff.next(None);
            assert!(pause <= Duration::from_millis(ceiling), "{pause:?} of {ceiling}");
            assert!(pause >= Duration::from_millis(ceiling / 2), "{pause:?} of {ceiling}");
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(9))), Duration::from_secs(9));
        backoff.reset();
        assert!(backoff.next(None) <= MIN_PAUSE);
    }
}
