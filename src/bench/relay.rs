//! A run of the path of events: how fast the relay drains the store, how soon
//! the event of an accept arrives, and how fast a consumer reads everything.
//! Server and consumer are processes, as in production, so that the cost of
//! each is measured apart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::error::BenchError;
use super::load::UnaryLoad;
use super::measured::{Latencies, Measured};
use super::plan::{Pace, RelayPlan, Scenario, Target};
use super::processes::{ServerProcess, TempFolder, consume};
use super::progress::note;
use super::report::{Arrival, RelayReport, Throughput};
use super::service::{connect_clients, load_config, stop_on_ctrl_c};
use super::work::{SendTimes, Work};
use crate::compose;
use crate::config::Config;

/// Interval at which the outbox is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longest wait for an event after the last accept was answered.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The URLs of a run.
struct Storage {
    folder: TempFolder,
    store: String,
    events: String,
    inbox: String,
}

impl Storage {
    fn new(plan: &RelayPlan, work: &Work) -> Result<Self, BenchError> {
        let folder = TempFolder::new(work.run_id())?;
        let in_folder = |name: &str| folder.path().join(name).display().to_string();
        let events = match plan.events.as_deref() {
            None => format!("journal:{}", in_folder("events")),
            // Never a production topic.
            Some(kafka) if kafka.starts_with("kafka:") => topic_of_run(kafka, work.prefix()),
            Some(other) => other.to_owned(),
        };
        Ok(Self {
            store: plan.store.clone().unwrap_or_else(|| format!("sqlite:{}", in_folder("orders.db"))),
            inbox: plan.inbox.clone().unwrap_or_else(|| format!("sqlite:{}", in_folder("inbox.db"))),
            events,
            folder,
        })
    }

    /// Starts a server on the store that publishes to `events`, and connects to
    /// it.
    async fn serve(&self, events: &str, target: &Target) -> Result<(ServerProcess, Connection), BenchError> {
        let server = ServerProcess::start(self.folder.path(), &self.store, events).await?;
        let target = Target { server: server.address().to_owned(), ..target.clone() };
        let connection = Connection::open(target).await?;
        Ok((server, connection))
    }
}

/// Returns the URL with a topic of the run: the given topic, or the default,
/// and the prefix of the run.
fn topic_of_run(url: &str, prefix: &str) -> String {
    let brokers = url.strip_prefix("kafka://").unwrap_or_default();
    let (brokers, topic) = brokers.split_once('/').unwrap_or((brokers, "pvz.bench"));
    format!("kafka://{brokers}/{topic}.{}", prefix.trim_end_matches('-'))
}

/// Runs the plan. Prints its progress on standard error.
///
/// # Errors
/// A process cannot be started, an accept fails, an event is refused or does
/// not arrive, or the consumer reads another number of events than were
/// written.
pub async fn measure_relay(plan: &RelayPlan) -> Result<RelayReport, BenchError> {
    let work = Work::new(Scenario::Accept, plan.batch);
    let storage = Storage::new(plan, &work)?;
    // Loaded first, so that a fault in it is reported before anything is written.
    let config = load_config(&plan.sources, "--events", &storage.events)?;
    let (server, connection) = storage.serve("none:", &plan.target).await?;
    connection.require_empty(plan.force).await?;
    let stop = stop_on_ctrl_c();
    let prepared = work.prepare(&connection, plan.orders, &stop).await;
    server.stop().await;
    if !prepared? {
        return Err(BenchError::Failed("interrupted before the measurement began".to_owned()));
    }

    note(format_args!("draining to {}", storage.events));
    let began = Instant::now();
    let (server, connection) = storage.serve(&storage.events, &plan.target).await?;
    wait_until_drained(&connection).await?;
    let mut events = work.accepted();
    let drain = Throughput::new(events, began.elapsed(), server.cost());
    let arrival = match plan.rate {
        Some(rate) => {
            let send_times = SendTimes::default();
            let work = Arc::new(Work::new(Scenario::Accept, plan.batch).recording(Arc::clone(&send_times)));
            let target = connection.target();
            let arrival = measure_arrival(plan, rate, &config, target, &work, send_times, stop).await?;
            wait_until_drained(&connection).await?;
            events += work.accepted();
            Some(arrival)
        }
        None => None,
    };
    server.stop().await;

    note(format_args!("consuming into {}", storage.inbox));
    let began = Instant::now();
    let run = consume(storage.folder.path(), &storage.events, &storage.inbox).await?;
    if run.new_events != events {
        return Err(BenchError::Failed(format!(
            "the consumer read {} of {events} events; the sink or the inbox was not empty before the run",
            run.new_events
        )));
    }
    let consumer = Throughput::new(events, began.elapsed(), run.cost);
    Ok(RelayReport::new(storage.events, drain, arrival, consumer))
}

/// Waits until every event is published.
async fn wait_until_drained(connection: &Connection) -> Result<(), BenchError> {
    loop {
        let outbox = connection.outbox().await?;
        if outbox.dead_letters > 0 {
            let error = outbox.last_error.unwrap_or_default();
            return Err(BenchError::Failed(format!("the sink refused an event: {error}")));
        }
        if outbox.lag_events == 0 {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Accepts orders at the rate, and measures how long after each call is sent
/// its event can be read.
async fn measure_arrival(
    plan: &RelayPlan,
    rate: f64,
    config: &Config,
    target: &Target,
    work: &Arc<Work>,
    send_times: SendTimes,
    stop: CancellationToken,
) -> Result<Arrival, BenchError> {
    let latencies = Arc::new(Mutex::new(Latencies::new()));
    let (pending, arrived) = (Arc::clone(&send_times), Arc::clone(&latencies));
    let clients = connect_clients(target, plan.connections).await?;
    let measure_from = Instant::now() + plan.warm_up;
    let readers = compose::follow(config, move |order_id| {
        let sent_at = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(order_id);
        // Accepts of the warm-up do not count.
        if let Some(sent_at) = sent_at.filter(|sent_at| *sent_at >= measure_from) {
            arrived.lock().unwrap_or_else(PoisonError::into_inner).record(sent_at.elapsed());
        }
    })
    .await
    .map_err(|error| BenchError::Failed(error.to_string()))?;
    let load = UnaryLoad {
        work: Arc::clone(work),
        clients,
        pace: Pace::Rate(rate),
        warm_up: plan.warm_up,
        duration: plan.duration,
        stop,
    };
    let measured = load.run().await;
    require_success(&measured)?;
    let answered_at = Instant::now();
    while !send_times.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        if answered_at.elapsed() > ARRIVAL_TIMEOUT {
            return Err(BenchError::Failed("events did not arrive within 30 s of their accept".to_owned()));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    drop(readers);
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Arrival::new(&measured, &latencies))
}

/// Fails if an accept failed: it may or may not have an event.
fn require_success(measured: &Measured) -> Result<(), BenchError> {
    match (&measured.ended_early, measured.errors.first_key_value()) {
        (Some(why), _) => Err(BenchError::Failed(why.clone())),
        (None, Some((reason, count))) => Err(BenchError::Failed(format!("{count} accepts failed: {reason}"))),
        (None, None) => Ok(()),
    }
}
