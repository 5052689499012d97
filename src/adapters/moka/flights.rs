//! Flights: a running load of an order, shared by all callers that ask for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::domain::OrderId;
use crate::ports::{CachedOrder, Epoch, PortError};

type Loaded = Result<CachedOrder, Arc<PortError>>;
/// A running load. Whoever waits for it drives it; if nobody does any more, it is cancelled.
pub(super) type Flight = Shared<BoxFuture<'static, Loaded>>;
type Key = (OrderId, Epoch);

/// The running loads. A finished or cancelled one is removed.
#[derive(Default)]
pub(super) struct Flights(Mutex<State>);

#[derive(Default)]
struct State {
    running: HashMap<Key, (u64, WeakShared<BoxFuture<'static, Loaded>>)>,
    /// The number of loads so far, which tells apart two loads with one key.
    started: u64,
}

/// The answer of [`Flights::join`].
pub(super) enum Joined {
    /// The order was stored meanwhile.
    Found(CachedOrder),
    /// A load, running or new.
    Flight(Flight),
}

impl Flights {
    /// Joins the load of this key. If there is none, looks for the order again, and starts `load`
    /// if it is not found.
    pub(super) fn join(
        self: &Arc<Self>,
        key: Key,
        find: impl FnOnce(&OrderId) -> Option<CachedOrder>,
        load: BoxFuture<'static, Loaded>,
    ) -> Joined {
        let mut state = self.state();
        if let Some(flight) = state.running.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return Joined::Flight(flight);
        }
        if let Some(order) = find(&key.0) {
            return Joined::Found(order);
        }
        state.started += 1;
        let landing = Landing { flights: Arc::clone(self), key: key.clone(), number: state.started };
        let flight = async move {
            let _landing = landing;
            load.await
        };
        let flight = flight.boxed().shared();
        // Only a finished load has no weak reference.
        if let Some(weak) = flight.downgrade() {
            let number = state.started;
            state.running.insert(key, (number, weak));
        }
        Joined::Flight(flight)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a load when it ends or is cancelled.
struct Landing {
    flights: Arc<Flights>,
    key: Key,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut state = self.flights.state();
        if state.running.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            state.running.remove(&self.key);
        }
    }
}
