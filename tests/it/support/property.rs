//! Checks a property on random cases. A failure prints the smallest failing case
//! and a command that replays it.

use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Checks `PVZ_CASES` cases (default: `cases`) of a property with the seed
/// `PVZ_SEED` (default: random). The property panics on a failing case. `test` is
/// the path of the test, for the command that replays it. Returns the number of
/// cases.
pub fn check<S>(test: &str, cases: u32, strategy: &S, property: impl Fn(S::Value)) -> u32
where
    S: Strategy,
    S::Value: Debug,
{
    let cases = number("PVZ_CASES").and_then(|cases| u32::try_from(cases).ok()).unwrap_or(cases);
    let seed = number("PVZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(test));
    println!("{test}: {cases} cases from seed {seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_096, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(strategy, |case| {
        property(case);
        Ok::<(), TestCaseError>(())
    });
    match outcome {
        Ok(()) => cases,
        Err(TestError::Fail(reason, smallest)) => panic!(
            "{reason}\nsmallest failing case: {smallest:#?}\n\
             replay: PVZ_SEED={seed} PVZ_CASES={cases} tests/run it --exact {test}"
        ),
        Err(TestError::Abort(reason)) => panic!("{test} was aborted: {reason}"),
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
