//! The sessions that block a migration. Its log and its error name them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};
use tokio_util::task::AbortOnDropHandle;

use super::connect::{ConnectOptions, query};

/// Interval between queries.
const INTERVAL: Duration = Duration::from_millis(100);
/// The maximum age of an observation that explains a failure.
const RECENT: Duration = Duration::from_secs(2);

/// Describes the sessions that block a process. The description shows state and times of other
/// roles' sessions only if this role may read all statistics.
const BLOCKERS: &str = "SELECT string_agg(format('process %s (%s, %s, query started %s)', pid, \
     coalesce(nullif(application_name, ''), backend_type, 'no name'), coalesce(state, 'state unknown'), \
     coalesce(to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'at an unknown time')), \
     ' and ') FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids($1))";

/// Watches a session until it is dropped.
pub(super) struct LockWaits {
    last: Arc<Mutex<Option<(Instant, String)>>>,
    _watcher: AbortOnDropHandle<()>,
}

impl LockWaits {
    /// Starts to watch the session of a process, on a separate connection.
    pub(super) async fn watch(connect_options: &ConnectOptions, process_id: i32) -> Result<Self, Error> {
        let client = connect_options.client().await?;
        let last = Arc::default();
        let watcher = tokio::spawn(watch(client, process_id, Arc::clone(&last)));
        Ok(Self { last, _watcher: AbortOnDropHandle::new(watcher) })
    }

    /// Returns the sessions that blocked it recently; `None` if none did.
    pub(super) fn blockers(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, blockers) = last.as_ref().filter(|(seen, _)| seen.elapsed() < RECENT)?;
        Some(blockers.clone())
    }
}

async fn watch(client: Client, process_id: i32, last: Arc<Mutex<Option<(Instant, String)>>>) {
    let mut logged = None;
    loop {
        sleep(INTERVAL).await;
        let Ok(row) = query(&client, BLOCKERS, &[(&process_id, Type::INT4)]).await else { return };
        let Ok(Some(blockers)) = row.try_get::<_, Option<String>>(0) else { continue };
        if logged.as_ref() != Some(&blockers) {
            tracing::warn!(blockers, "migration waits for a lock");
            logged = Some(blockers.clone());
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), blockers));
    }
}
