//! A standby from which orders, lists and histories are read. Every read still
//! sees all that this process has written.
//!
//! Each answered write gets a number. A task repeatedly takes the number of the
//! last write, then the WAL position of the primary, and waits until the standby
//! has replayed that position: then that write and all before it are replicated.
//! A read whose scope has a write that is not replicated goes to the primary. So
//! does every read while the standby is unavailable, too far behind or promoted.
//!
//! Decisions, the feed, the audit and all other reads use the primary only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::open_error::OpenError;
use super::pool::{Connections, on_connection};
use super::readers::Readers;
use super::unreplicated_writes::{OrderKeys, ReadScope, UnreplicatedWrites, keys_of};
use crate::ports::{BatchDecision, Decide, Loaded, PortError, chain};

/// The largest lag at which the standby is read.
const MAX_LAG: Duration = Duration::from_secs(5);
/// Timeout of a read of the standby, after which the primary is read.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of status queries while no write is unreplicated or the standby is
/// not usable.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of status queries while a write is unreplicated.
const BUSY_INTERVAL: Duration = Duration::from_millis(10);

/// A standby and what it has replayed.
#[derive(Debug)]
pub(super) struct Standby {
    pub(super) readers: Readers,
    state: Arc<StandbyState>,
    _monitor: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct StandbyState {
    unreplicated_writes: Mutex<UnreplicatedWrites>,
    /// True if it may be read at all.
    usable: AtomicBool,
    written: Notify,
}

impl StandbyState {
    fn unreplicated_writes(&self) -> MutexGuard<'_, UnreplicatedWrites> {
        self.unreplicated_writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a change.
    fn set_usable(&self, usable: bool, cause: &str) {
        match (self.usable.swap(usable, Ordering::SeqCst), usable) {
            (false, true) => tracing::info!("standby is usable: orders and lists are read from it"),
            (true, false) => {
                tracing::warn!(cause, "standby is not usable: all reads go to the primary");
            }
            _ => {}
        }
    }
}

impl Standby {
    /// Starts to monitor a standby. It is read only after it was seen to be a
    /// standby of the store with that secret, and to have caught up.
    ///
    /// # Errors
    /// It is a database of another store.
    pub(super) async fn open(
        readers: Readers,
        primary: Connections,
        secret: [u8; 32],
    ) -> Result<Self, OpenError> {
        match query_status(&readers.background, "0/0", &secret).await {
            Ok(StandbyStatus { same_store: false, .. }) => return Err(OpenError::OtherStore),
            Ok(StandbyStatus { in_recovery: false, .. }) => {
                tracing::warn!("store.read_url is not the address of a standby: all reads go to the primary");
            }
            Ok(_) => {}
            Err(error) => {
                let cause = chain(&error);
                tracing::warn!(cause, "standby cannot be reached: all reads go to the primary");
            }
        }
        let state = Arc::new(StandbyState::default());
        let monitor = monitor(Arc::clone(&state), readers.background.clone(), primary, secret);
        Ok(Self { readers, state, _monitor: AbortOnDropHandle::new(tokio::spawn(monitor)) })
    }

    /// Returns true if a read with that scope may use the standby.
    pub(super) fn can_serve(&self, scope: ReadScope<'_>) -> bool {
        self.state.usable.load(Ordering::SeqCst) && self.state.unreplicated_writes().is_replicated(scope)
    }

    /// Records that a read of the standby failed.
    pub(super) fn record_failure(&self, error: &PortError) {
        self.state.set_usable(false, &chain(error));
    }

    /// Records that a batch was written.
    pub(super) fn record_write(&self, orders: &[OrderKeys]) {
        if !orders.is_empty() {
            self.state.unreplicated_writes().record(orders);
            self.state.written.notify_one();
        }
    }
}

/// A decision that records the orders that it writes.
pub(super) struct RecordingDecide<'a> {
    pub(super) inner: &'a dyn Decide,
    pub(super) written: Mutex<Vec<OrderKeys>>,
}

impl Decide for RecordingDecide<'_> {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        let decision = self.inner.decide(loaded);
        let writes = &decision.writes;
        let orders = writes.inserted.iter().chain(writes.updated.iter().map(|(_, order)| order));
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = orders.map(keys_of).collect();
        decision
    }
}

/// Tracks what the standby has replayed, until it is aborted.
async fn monitor(state: Arc<StandbyState>, standby: Connections, primary: Connections, secret: [u8; 32]) {
    let mut caught_up = Instant::now();
    loop {
        let write = state.unreplicated_writes().last();
        if let Ok(lsn) = flushed_lsn(&primary).await {
            loop {
                match query_status(&standby, &lsn, &secret).await {
                    Ok(StandbyStatus { replayed: true, .. }) => {
                        state.unreplicated_writes().mark_replicated(write);
                        state.set_usable(true, "");
                        caught_up = Instant::now();
                        break;
                    }
                    Ok(StandbyStatus { same_store: false, .. }) => {
                        state.set_usable(false, "the database belongs to another store");
                    }
                    Ok(StandbyStatus { in_recovery: false, .. }) => {
                        state.set_usable(false, "the database is not a standby");
                    }
                    Ok(_) if caught_up.elapsed() < MAX_LAG => {}
                    Ok(_) => state.set_usable(false, "the standby is too far behind"),
                    Err(error) => state.set_usable(false, &chain(&error)),
                }
                let usable = state.usable.load(Ordering::SeqCst);
                sleep(if usable { BUSY_INTERVAL } else { IDLE_INTERVAL }).await;
            }
        }
        // Limits the rate of queries under a steady load of writes.
        sleep(BUSY_INTERVAL).await;
        if state.unreplicated_writes().is_empty() {
            _ = timeout(IDLE_INTERVAL, state.written.notified()).await;
        }
    }
}

/// Reads the WAL position up to which the primary has flushed. The commit of
/// every answered write is before it.
async fn flushed_lsn(primary: &Connections) -> Result<String, PortError> {
    on_connection!(primary, |connection| queries::flushed_lsn(&mut connection))
}

/// Runs a read of the standby, up to [`READ_TIMEOUT`].
pub(super) async fn with_read_timeout<T>(
    read: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    let read = timeout(READ_TIMEOUT, read).await;
    read.unwrap_or_else(|elapsed| Err(PortError::unavailable("the standby did not answer in time", elapsed)))
}

/// The status of a standby.
struct StandbyStatus {
    /// It is a standby.
    in_recovery: bool,
    /// It has replayed the WAL position.
    replayed: bool,
    /// It is a database of the same store.
    same_store: bool,
}

async fn query_status(
    standby: &Connections,
    lsn: &str,
    secret: &[u8; 32],
) -> Result<StandbyStatus, PortError> {
    let query = Box::pin(async {
        on_connection!(standby, |connection| queries::status(&mut connection, lsn, secret))
    });
    with_read_timeout(query).await
}

/// A module of its own, because the trait of the driver has a method `load` for
/// every type, atomics included.
mod queries {
    use diesel::sql_types::{Binary, Bool, Text};
    use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

    use super::StandbyStatus;
    use crate::adapters::postgres::error::Failure;
    use crate::adapters::postgres::sql::Sql;

    pub(super) async fn flushed_lsn(connection: &mut AsyncPgConnection) -> Result<String, Failure> {
        let query = Sql::<Text>::new("SELECT pg_current_wal_flush_lsn()::text");
        Ok(query.get_result(connection).await?)
    }

    pub(super) async fn status(
        connection: &mut AsyncPgConnection,
        lsn: &str,
        secret: &[u8; 32],
    ) -> Result<StandbyStatus, Failure> {
        let query = Sql::<(Bool, Bool, Binary)>::new(
            "SELECT pg_is_in_recovery(), coalesce(pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= ",
        );
        let query = query.text(lsn).sql("::pg_lsn, false), value FROM store_settings WHERE name = 'secret'");
        let (in_recovery, replayed, found): (bool, bool, Vec<u8>) = query.get_result(connection).await?;
        let same_store = found == secret;
        Ok(StandbyStatus { in_recovery, replayed: replayed && same_store, same_store })
    }
}
