//! The clock, the random numbers and the limits of the machine. Other modules use
//! the ports.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use uuid::{NoContext, Uuid};

use crate::domain::{EventId, Timestamp};
use crate::ports::{Clock, Ids};

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock port's adapter")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)
    }
}

/// Ids from the machine's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn event_id(&self, at: Timestamp) -> EventId {
        let (seconds, nanos) = at.parts();
        // UUIDv7 does not support times before 1970.
        let seconds = u64::try_from(seconds).unwrap_or_default();
        let nanos = u32::try_from(nanos).unwrap_or_default();
        EventId(Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos)).as_u128())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the Ids port's adapter")]
    fn correlation_id(&self) -> String {
        Uuid::new_v4().to_string()
    }
}

/// Raises the limit of open files to what the process may have, and returns it;
/// `None` if there is none. Shells and service managers set a low limit (1,024)
/// for programs that use `select`, and each connection needs a descriptor.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            limit.current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SystemClock, SystemIds};
    use crate::domain::Timestamp;
    use crate::ports::{Clock as _, Ids as _};

    #[test]
    fn event_ids_carry_their_instant_and_differ() {
        let at = Timestamp::from_micros(1_798_711_200_123_456).unwrap();
        let first = uuid::Uuid::from_u128(SystemIds.event_id(at).0);
        let second = uuid::Uuid::from_u128(SystemIds.event_id(at).0);
        assert_ne!(first, second);
        assert_eq!(first.get_version_num(), 7);
        assert_eq!(first.get_timestamp().unwrap().to_unix(), (1_798_711_200, 123_000_000));
        assert_eq!(SystemIds.event_id(at).to_string().len(), 36);
    }

    #[test]
    fn the_clock_is_past_the_day_this_was_written() {
        assert!(SystemClock.now() > Timestamp::from_micros(1_767_225_600_000_000).unwrap());
    }

    #[test]
    fn correlation_ids_differ() {
        assert_ne!(SystemIds.correlation_id(), SystemIds.correlation_id());
    }
}
