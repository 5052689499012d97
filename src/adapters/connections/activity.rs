//! The requests in progress on a connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Counts the requests in progress on a connection.
pub struct Activity {
    requests: Mutex<Requests>,
    /// Notified when the last request has ended.
    ended: Notify,
}

struct Requests {
    open: usize,
    /// The end of the last request.
    quiet_since: Instant,
}

impl Activity {
    /// Creates the activity of a new connection.
    pub fn new() -> Self {
        let requests = Requests { open: 0, quiet_since: Instant::now() };
        Self { requests: Mutex::new(requests), ended: Notify::new() }
    }

    /// Counts a request until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> ActiveRequest {
        self.requests().open += 1;
        ActiveRequest(Arc::clone(self))
    }

    /// Waits until there was no request for `time`, from now on.
    pub async fn quiet(&self, time: Duration) {
        let start = Instant::now();
        loop {
            let ended = self.ended.notified();
            let quiet_since = {
                let requests = self.requests();
                (requests.open == 0).then_some(requests.quiet_since)
            };
            match quiet_since.map(|since| since.max(start) + time) {
                None => ended.await,
                Some(end) if end <= Instant::now() => return,
                Some(end) => tokio::time::sleep_until(end).await,
            }
        }
    }

    /// Ignores poisoning: every change is complete before a panic can happen.
    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in progress.
pub struct ActiveRequest(Arc<Activity>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.open -= 1;
        if requests.open == 0 {
            requests.quiet_since = Instant::now();
            drop(requests);
            self.0.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn quiet_starts_with_the_wait_and_again_with_the_end_of_a_request() {
        let activity = Arc::new(Activity::new());
        tokio::time::advance(TIME * 3).await;
        let start = Instant::now();
        activity.quiet(TIME).await;
        assert!(start.elapsed() >= TIME);

        let request = activity.begin();
        let start = Instant::now();
        let end = async {
            tokio::time::sleep(TIME * 2).await;
            drop(request);
        };
        tokio::join!(activity.quiet(TIME), end);
        assert!(start.elapsed() >= TIME * 3, "{:?}", start.elapsed());
    }
}
