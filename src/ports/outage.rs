//! Failures that are retried until something recovers.

/// Longest list of the causes of an outage.
const MOST_CAUSES: usize = 16;

/// The failures of an operation since it last succeeded. Each cause is logged once and then counted,
/// because retries would repeat it for as long as the outage lasts.
#[derive(Debug, Clone, Default)]
pub struct Outage {
    causes: Vec<String>,
    failures: u64,
}

impl Outage {
    /// Counts a failure. Returns true if its cause is new in this outage, and must be logged.
    pub fn is_new(&mut self, cause: &str) -> bool {
        self.failures += 1;
        let is_new = self.causes.len() < MOST_CAUSES && !self.causes.iter().any(|known| known == cause);
        if is_new {
            self.causes.push(cause.to_owned());
        }
        is_new
    }

    /// Ends the outage. Returns the number of failures; `None` if there were none.
    pub fn end(&mut self) -> Option<u64> {
        let Self { failures, .. } = std::mem::take(self);
        (failures > 0).then_some(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_CAUSES, Outage};

    #[test]
    fn each_cause_of_an_outage_is_new_once() {
        let mut outage = Outage::default();
        assert_eq!(outage.end(), None);
        let causes = ["refused", "refused", "timeout", "refused", "timeout"];
        assert_eq!(causes.map(|cause| outage.is_new(cause)), [true, false, true, false, false]);
        assert_eq!((outage.end(), outage.end()), (Some(5), None));
        assert!(outage.is_new("refused"), "a later outage is logged again");
        let new = (0..100).filter(|number| outage.is_new(&number.to_string())).count();
        assert_eq!(new, MOST_CAUSES - 1, "a cause that is always different does not fill the log");
    }
}
