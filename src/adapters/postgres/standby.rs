//! A standby of the database, to read from: orders, lists and histories. What
//! this process has written is seen in every read all the same.
//!
//! Each write that was answered gets a number. Again and again the watch takes
//! the number of the last write, then the primary's position in its log, and
//! waits until the standby has replayed that: then it shows that write and all
//! before it. A read that is about an order, a customer or a point which was
//! written since goes to the primary, and so does every read while the standby
//! is away, too far behind, or no standby any more.
//!
//! Decisions, the feed, the audit and everything else read the primary only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::open_error::OpenError;
use super::pool::{Connections, on_connection};
use super::unreplicated_writes::{About, UnreplicatedWrites, names};
use crate::domain::{CustomerId, OrderId, PickupPointId};
use crate::ports::{BatchDecision, Decide, Loaded, PortError, chain};

/// How far behind the standby may be before nothing is read from it.
const BEHIND: Duration = Duration::from_secs(5);
/// How long a read of the standby may take before the primary is asked.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often its position is looked at when nothing is written here.
const IDLE: Duration = Duration::from_secs(1);
/// The same while something is waited for.
const BUSY: Duration = Duration::from_millis(10);

/// A standby that reads may go to.
#[derive(Debug)]
pub(super) struct Standby {
    pub(super) connections: Connections,
    state: Arc<StandbyState>,
    _watch: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct StandbyState {
    unreplicated_writes: Mutex<UnreplicatedWrites>,
    /// Whether it may be read from at all.
    usable: AtomicBool,
    written: Notify,
}

impl StandbyState {
    fn unreplicated_writes(&self) -> std::sync::MutexGuard<'_, UnreplicatedWrites> {
        self.unreplicated_writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says so when it changes.
    fn set_usable(&self, usable: bool, cause: &str) {
        match (self.usable.swap(usable, Ordering::SeqCst), usable) {
            (false, true) => tracing::info!("orders and lists are read from the standby"),
            (true, false) => tracing::warn!(cause, "the standby is not read from: the primary serves all"),
            _ => {}
        }
    }
}

impl Standby {
    /// Begins to watch it. It is not read from before it was seen to be a
    /// standby of the store with that secret, and to have caught up.
    ///
    /// # Errors
    /// It answers, and is a database of another store.
    pub(super) async fn open(
        connections: Connections,
        primary: Connections,
        secret: [u8; 32],
    ) -> Result<Self, OpenError> {
        match glance(&connections, "0/0", &secret).await {
            Ok(Glance { same_store: false, .. }) => return Err(OpenError::OtherStore),
            Ok(Glance { standby: false, .. }) => {
                tracing::warn!("store.read_url is not the address of a standby: nothing is read from it");
            }
            Ok(_) => {}
            Err(error) => {
                let cause = chain(&error);
                tracing::warn!(cause, "the standby cannot be reached: the primary serves all");
            }
        }
        let state = Arc::new(StandbyState::default());
        let watch = watch(Arc::clone(&state), connections.clone(), primary, secret);
        Ok(Self { connections, state, _watch: AbortOnDropHandle::new(tokio::spawn(watch)) })
    }

    /// Whether a read may go there.
    pub(super) fn shows(&self, about: About<'_>) -> bool {
        self.state.usable.load(Ordering::SeqCst) && self.state.unreplicated_writes().shows(about)
    }

    /// A read of it failed.
    pub(super) fn failed(&self, error: &PortError) {
        self.state.set_usable(false, &chain(error));
    }

    /// A batch was written.
    pub(super) fn wrote(&self, orders: &[(OrderId, CustomerId, PickupPointId)]) {
        if !orders.is_empty() {
            self.state.unreplicated_writes().write(orders);
            self.state.written.notify_one();
        }
    }
}

/// Remembers what a decision writes.
pub(super) struct Noting<'a> {
    pub(super) inner: &'a dyn Decide,
    pub(super) written: Mutex<Vec<(OrderId, CustomerId, PickupPointId)>>,
}

impl Decide for Noting<'_> {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        let verdict = self.inner.decide(loaded);
        let writes = &verdict.writes;
        let orders = writes.inserted.iter().chain(writes.updated.iter().map(|(_, order)| order));
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = orders.map(names).collect();
        verdict
    }
}

/// Follows what the standby shows, for ever.
async fn watch(state: Arc<StandbyState>, standby: Connections, primary: Connections, secret: [u8; 32]) {
    let mut caught_up = Instant::now();
    loop {
        let write = state.unreplicated_writes().last();
        if let Ok(position) = position(&primary).await {
            loop {
                match glance(&standby, &position, &secret).await {
                    Ok(Glance { shows: true, .. }) => {
                        state.unreplicated_writes().show(write);
                        state.set_usable(true, "");
                        caught_up = Instant::now();
                        break;
                    }
                    Ok(Glance { same_store: false, .. }) => state.set_usable(false, "it is another store"),
                    Ok(Glance { standby: false, .. }) => state.set_usable(false, "it is no standby"),
                    Ok(_) if caught_up.elapsed() < BEHIND => {}
                    Ok(_) => state.set_usable(false, "it is too far behind"),
                    Err(error) => state.set_usable(false, &chain(&error)),
                }
                // What is not usable is not waited for so eagerly.
                sleep(if state.usable.load(Ordering::SeqCst) { BUSY } else { IDLE }).await;
            }
        }
        // Not without a pause, however much is written.
        sleep(BUSY).await;
        if state.unreplicated_writes().is_empty() {
            _ = timeout(IDLE, state.written.notified()).await;
        }
    }
}

/// Up to where the primary's log is durable: at least the commit of every write
/// that was answered.
async fn position(primary: &Connections) -> Result<String, PortError> {
    on_connection!(primary, |connection| queries::position(&mut connection))
}

/// A read of the standby, which may not take long.
pub(super) async fn in_time<T>(read: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
    let read = timeout(PATIENCE, read).await;
    read.unwrap_or_else(|elapsed| Err(PortError::unavailable("the standby does not answer", elapsed)))
}

/// What one look at the standby tells.
struct Glance {
    standby: bool,
    /// It has replayed the position.
    shows: bool,
    same_store: bool,
}

async fn glance(standby: &Connections, position: &str, secret: &[u8; 32]) -> Result<Glance, PortError> {
    let look = Box::pin(async {
        on_connection!(standby, |connection| queries::glance(&mut connection, position, secret))
    });
    in_time(look).await
}

/// Apart, because the driver's trait has a `load` for everything there is, also
/// for what is atomic.
mod queries {
    use diesel::sql_types::{Binary, Bool, Text};
    use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

    use super::Glance;
    use crate::adapters::postgres::error::Failure;
    use crate::adapters::postgres::sql::Sql;

    pub(super) async fn position(connection: &mut AsyncPgConnection) -> Result<String, Failure> {
        let query = Sql::<Text>::new("SELECT pg_current_wal_flush_lsn()::text");
        Ok(query.get_result(connection).await?)
    }

    pub(super) async fn glance(
        connection: &mut AsyncPgConnection,
        position: &str,
        secret: &[u8; 32],
    ) -> Result<Glance, Failure> {
        let query = Sql::<(Bool, Bool, Binary)>::new(
            "SELECT pg_is_in_recovery(), coalesce(pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= ",
        );
        let query =
            query.text(position).sql("::pg_lsn, false), value FROM store_settings WHERE name = 'secret'");
        let (standby, shows, found): (bool, bool, Vec<u8>) = query.get_result(connection).await?;
        let same_store = found == secret;
        Ok(Glance { standby, shows: shows && same_store, same_store })
    }
}
