//! A model of what each reader may see, and a driver that runs a cache step by step against it. The
//! driver polls every read itself, so a schedule is a list of steps.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use proptest::prelude::*;
use pvz::domain::{Order, OrderId};
use pvz::ports::{Announcements, Fence, OrderCache, OrderSource, PortError, SortedKeys, StaleOrder};

use super::source::order;

pub const ORDERS: usize = 3;

/// A step of a schedule. The numbers choose an order or a running load.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// A reader begins.
    Read(usize),
    /// A load reads the store, and is not answered yet.
    Look(usize),
    /// A load is answered.
    Answer(usize),
    /// A batch of this replica begins.
    Begin(usize),
    /// It is committed.
    Commit(usize),
    /// It is put, and answered.
    Put(usize),
    /// Its outcome is unknown.
    Fail(usize),
    /// Another replica changes an order.
    CommitElsewhere(usize),
    /// The next change of another replica is announced.
    Announce,
    /// The announcements are lost.
    Disconnect,
    /// They are received again.
    Reconnect,
    /// Other orders need the room.
    Evict,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0..ORDERS;
    let step = prop_oneof![
        6 => number.clone().prop_map(Step::Read),
        3 => number.clone().prop_map(Step::Look),
        5 => number.clone().prop_map(Step::Answer),
        3 => number.clone().prop_map(Step::Begin),
        3 => number.clone().prop_map(Step::Commit),
        3 => number.clone().prop_map(Step::Put),
        1 => number.clone().prop_map(Step::Fail),
        4 => number.prop_map(Step::CommitElsewhere),
        4 => Just(Step::Announce),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Reconnect),
        2 => Just(Step::Evict),
    ];
    prop::collection::vec(step, 1..60)
}

/// The store: the version of each order, and the loads that are not answered.
#[derive(Default)]
struct Store {
    versions: [i64; ORDERS],
    loads: Vec<Load>,
}

struct Load {
    order: usize,
    seen: Option<i64>,
    answered: bool,
}

struct Source {
    /// The number of the schedule, part of the names of its orders.
    schedule: u64,
    store: Mutex<Store>,
}

impl Source {
    fn name(&self, order: usize) -> String {
        format!("order-{}-{order}", self.schedule)
    }

    fn order_id(&self, order: usize) -> OrderId {
        OrderId::parse(&self.name(order)).unwrap()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }
}

#[async_trait]
impl OrderSource for Source {
    async fn load(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        let number = (0..ORDERS).find(|number| self.name(*number) == order_id.as_str()).unwrap();
        let load = {
            let loads = &mut self.store().loads;
            loads.push(Load { order: number, seen: None, answered: false });
            loads.len() - 1
        };
        let version = poll_fn(|_| {
            let store = self.store();
            let load = &store.loads[load];
            if load.answered { Poll::Ready(load.seen.unwrap()) } else { Poll::Pending }
        });
        let version = version.await;
        Ok((version > 0).then(|| order(&self.name(number), version)))
    }
}

/// A batch of this replica.
struct Batch {
    fence: Fence,
    committed: Option<i64>,
}

/// A reader that waits.
struct Reader {
    order: usize,
    /// The oldest version that it may see.
    floor: i64,
    answer: BoxFuture<'static, i64>,
}

/// A cache, and what its readers may see.
pub struct Model {
    cache: Arc<dyn OrderCache>,
    source: Arc<Source>,
    readers: Vec<Reader>,
    batches: [Option<Batch>; ORDERS],
    announcements: Vec<(usize, i64)>,
    connected: bool,
    /// The version that was answered, announced or shown.
    floors: [i64; ORDERS],
}

impl Model {
    /// Runs a schedule with a number of its own. Panics if a reader sees what it may not see.
    pub fn run(cache: Arc<dyn OrderCache>, schedule: u64, steps: &[Step]) {
        let mut model = Self {
            cache,
            source: Arc::new(Source { schedule, store: Mutex::default() }),
            readers: Vec::new(),
            batches: Default::default(),
            announcements: Vec::new(),
            connected: false,
            floors: [0; ORDERS],
        };
        // An earlier schedule may have left it connected.
        now(model.cache.clear(Announcements::Missed));
        for step in steps {
            model.step(*step);
            model.poll_readers();
        }
        while !model.readers.is_empty() {
            model.answer(0);
            model.poll_readers();
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Read(order) => self.read(order),
            Step::Look(load) => self.look(load),
            Step::Answer(load) => self.answer(load),
            Step::Begin(order) => {
                let fence = self.cache.begin(&SortedKeys::from([self.source.order_id(order)]));
                self.batches[order].get_or_insert(Batch { fence, committed: None });
            }
            Step::Commit(order) => {
                if let Some(batch @ Batch { committed: None, .. }) = &mut self.batches[order] {
                    batch.committed = Some(commit(&self.source, order));
                }
            }
            Step::Put(number) => {
                if let Some(Batch { fence, committed: Some(version) }) =
                    self.batches[number].take_if(|batch| batch.committed.is_some())
                {
                    now(self.cache.put(&fence, &[order(&self.source.name(number), version)]));
                    self.raise(number, version);
                }
            }
            Step::Fail(order) => {
                if let Some(Batch { committed, .. }) = self.batches[order].take() {
                    self.invalidate(order, None);
                    self.raise(order, committed.unwrap_or(0));
                }
            }
            Step::CommitElsewhere(order) => {
                let version = commit(&self.source, order);
                if self.connected {
                    self.announcements.push((order, version));
                }
            }
            Step::Announce if !self.announcements.is_empty() => {
                let (order, version) = self.announcements.remove(0);
                self.invalidate(order, Some(version));
                self.raise(order, version);
            }
            Step::Announce => {}
            Step::Disconnect => {
                self.announcements.clear();
                self.clear(false);
            }
            Step::Reconnect => self.clear(true),
            Step::Evict => self.evict(),
        }
    }

    fn raise(&mut self, order: usize, version: i64) {
        self.floors[order] = self.floors[order].max(version);
    }

    fn invalidate(&self, order: usize, version: Option<i64>) {
        now(self.cache.invalidate(&[StaleOrder { order_id: self.source.order_id(order), version }]));
    }

    fn clear(&mut self, connected: bool) {
        self.connected = connected;
        let announcements = if connected { Announcements::Received } else { Announcements::Missed };
        now(self.cache.clear(announcements));
        let versions = self.source.store().versions;
        for (order, version) in versions.into_iter().enumerate() {
            self.raise(order, version);
        }
    }

    fn evict(&self) {
        for number in 0..3 {
            let other = order(&format!("other-{number}"), 1);
            let fence = self.cache.begin(&SortedKeys::from([other.order_id.clone()]));
            now(self.cache.put(&fence, std::slice::from_ref(&other)));
            // A popular order is admitted by every policy.
            for _ in 0..3 {
                self.cache.cached(&other.order_id);
            }
        }
        self.cache.statistics();
    }

    fn read(&mut self, order: usize) {
        let floor = self.floors[order];
        if let Some(found) = self.cache.cached(&self.source.order_id(order)) {
            return self.check(order, floor, found.map_or(0, |order| order.version));
        }
        let (cache, source) = (Arc::clone(&self.cache), Arc::clone(&self.source));
        let (order_id, source): (_, Arc<dyn OrderSource>) = (source.order_id(order), source);
        let answer = async move {
            let loaded = cache.load(&order_id, &source).await;
            loaded.expect("the source does not fail").map_or(0, |order| order.version)
        };
        self.readers.push(Reader { order, floor, answer: answer.boxed() });
    }

    fn look(&mut self, number: usize) {
        let mut store = self.source.store();
        let versions = store.versions;
        let mut waiting = store.loads.iter_mut().filter(|load| load.seen.is_none());
        if let Some(load) = waiting.nth(number) {
            load.seen = Some(versions[load.order]);
        }
    }

    fn answer(&mut self, number: usize) {
        let mut store = self.source.store();
        let versions = store.versions;
        let mut waiting = store.loads.iter_mut().filter(|load| !load.answered);
        if let Some(load) = waiting.nth(number) {
            load.seen.get_or_insert(versions[load.order]);
            load.answered = true;
        }
    }

    fn poll_readers(&mut self) {
        let mut answered = Vec::new();
        self.readers.retain_mut(|reader| {
            let answer = reader.answer.as_mut().now_or_never();
            answered.extend(answer.map(|version| (reader.order, reader.floor, version)));
            answer.is_none()
        });
        for (order, floor, version) in answered {
            self.check(order, floor, version);
        }
    }

    fn check(&mut self, order: usize, floor: i64, version: i64) {
        let newest = self.source.store().versions[order];
        assert!(version >= floor, "{} in version {version}, after version {floor}", self.source.name(order));
        assert!(
            version <= newest,
            "{} in version {version}, but {newest} is the newest",
            self.source.name(order)
        );
        self.raise(order, version);
    }
}

fn commit(source: &Source, order: usize) -> i64 {
    let version = &mut source.store().versions[order];
    *version += 1;
    *version
}

/// Runs a change of a cache that does not wait.
fn now(change: impl Future<Output = ()>) {
    change.now_or_never().expect("a change of a cache in memory does not wait");
}
