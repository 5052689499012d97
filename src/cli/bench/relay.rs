//! `pvz bench relay`: how fast events leave the store, how soon they arrive,
//! and how fast a consumer takes them in. Each part is a process of its own,
//! the same as in earnest, so what it costs is told apart.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::embedded::{Cost, Embedded, Folder, consume};
use super::line::BenchClient;
use super::load::{Load, Pace};
use super::measured::{LONGEST, Measured};
use super::report::{Latency, print};
use super::work::{Scenario, Sent, Work};
use super::{Bench, Settings, interrupt, refuse_if_used};
use crate::cli::client::{Client, Common, Failure, Outcome};
use crate::cli::config::sources;
use crate::cli::output::number;
use crate::compose;
use crate::config::Config;
use crate::proto::v1::GetOutboxRequest;

/// How often the outbox is asked whether anything is left.
const POLL: Duration = Duration::from_millis(20);
/// How long records may be on their way after the last call was answered.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    scenario: &'static str,
    events_url: String,
    drain: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrival: Option<Arrival>,
    consumer: Phase,
}

/// Events that went from one place to another.
#[derive(Debug, Serialize)]
struct Phase {
    events: u64,
    seconds: f64,
    events_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_event: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_mib: Option<f64>,
}

/// From the moment that an accept is sent to the moment that its event is read.
#[derive(Debug, Serialize)]
struct Arrival {
    calls_per_second: f64,
    events: u64,
    latency_ms: Latency,
}

impl Phase {
    #[expect(clippy::cast_precision_loss, reason = "figures for people, with three digits at most")]
    fn new(events: u64, took: Duration, cost: Option<Cost>) -> Self {
        let seconds = took.as_secs_f64().max(0.001);
        Self {
            events,
            seconds,
            events_per_second: events as f64 / seconds,
            cpu_us_per_event: cost.map(|cost| cost.cpu.as_secs_f64() * 1e6 / events.max(1) as f64),
            peak_rss_mib: cost.map(|cost| cost.peak_rss as f64 / f64::from(1 << 20)),
        }
    }
}

/// Where everything is.
struct BenchStore {
    folder: Folder,
    store: String,
    events: String,
    inbox: String,
    common: Common,
}

impl BenchStore {
    fn new(bench: &Bench, common: Common, work: &Work) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let own = |name: &str| folder.path().join(name).display().to_string();
        let events = match bench.events.as_deref() {
            None => format!("journal:{}", own("events")),
            // Nobody benches the topic of a business by accident.
            Some(kafka) if kafka.starts_with("kafka:") => kafka_of_run(kafka, work.prefix()),
            Some(other) => other.to_owned(),
        };
        Ok(Self {
            store: bench.store.clone().unwrap_or_else(|| format!("sqlite:{}", own("orders.db"))),
            inbox: bench.inbox.clone().unwrap_or_else(|| format!("sqlite:{}", own("inbox.db"))),
            events,
            common,
            folder,
        })
    }

    /// A server on the store that sends its events there, and a client of it.
    async fn serve(&self, events: &str) -> Result<(Embedded, Client), Failure> {
        let server = Embedded::start(self.folder.path(), &self.store, events).await?;
        let common = Common { server: Some(server.address().to_owned()), ..self.common.clone() };
        let client = Client::connect(common).await?;
        Ok((server, client))
    }

    /// The configuration of a process that reads the events.
    fn config(&self) -> Result<Config, Failure> {
        let loaded = Config::load(&sources([("--events", &Some(self.events.clone()))]));
        loaded.map(|(config, _)| config).map_err(|errors| Failure::usage(errors.to_string()))
    }
}

/// A topic of this run's own: the named one, or the default, and the run.
fn kafka_of_run(url: &str, prefix: &str) -> String {
    let brokers = url.strip_prefix("kafka://").unwrap_or_default();
    let (brokers, topic) = brokers.split_once('/').unwrap_or((brokers, "pvz.bench"));
    format!("kafka://{brokers}/{topic}.{}", prefix.trim_end_matches('-'))
}

/// Measures, and prints.
pub(super) async fn run(bench: &Bench, common: Common, settings: &Settings) -> Outcome {
    let work = Arc::new(Work::new(Scenario::Accept, settings.batch));
    let place = BenchStore::new(bench, common, &work)?;
    // A mistake in it is told before anything is written.
    let config = place.config()?;
    let (server, client) = place.serve("none:").await?;
    if !bench.yes {
        refuse_if_used(&client).await?;
    }
    let stop = interrupt();
    let ready = work.prepare(&client, settings.orders, &stop).await;
    server.stop().await;
    if !ready? {
        return Err(Failure::usage("interrupted before anything was measured").into());
    }

    anstream::eprintln!("draining to {}", place.events);
    let began = Instant::now();
    let (server, client) = place.serve(&place.events).await?;
    drained(&client).await?;
    let drain = Phase::new(work.accepted(), began.elapsed(), server.cost());
    let later = Arc::new(Work::new(Scenario::Accept, settings.batch).noting(Sent::default()));
    let arrival = match settings.pace {
        Pace::Rate(_) => Some(arrive(&place, &config, settings, &later, &server, stop).await?),
        Pace::InFlight(_) => None,
    };
    drained(&client).await?;
    let events = work.accepted() + later.accepted();
    server.stop().await;

    anstream::eprintln!("consuming into {}", place.inbox);
    let began = Instant::now();
    let read = consume(place.folder.path(), &place.events, &place.inbox).await?;
    if read.fresh != events {
        return Err(Failure::usage(format!(
            "of {events} events the consumer read {}: the place for events or the inbox was not empty",
            read.fresh
        ))
        .into());
    }
    let consumer = Phase::new(events, began.elapsed(), read.cost);
    let report = Report { scenario: "relay", events_url: place.events.clone(), drain, arrival, consumer };
    print(&report, Report::table, client.format)?;
    Ok(0)
}

/// Waits until all events are sent.
async fn drained(client: &Client) -> Result<(), Failure> {
    loop {
        let outbox = client
            .call(GetOutboxRequest {}, async |mut grpc, request| grpc.get_outbox(request).await)
            .await?;
        if outbox.dead_letters > 0 {
            let why = outbox.last_error.unwrap_or_default();
            return Err(Failure::usage(format!("an event was refused: {why}")));
        }
        if outbox.lag_events == 0 {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Accepts orders at that rate, and times their events from the sending of the
/// call.
async fn arrive(
    place: &BenchStore,
    config: &Config,
    settings: &Settings,
    work: &Arc<Work>,
    server: &Embedded,
    stop: tokio_util::sync::CancellationToken,
) -> Result<Arrival, Failure> {
    let sent = work.sent().cloned().unwrap_or_default();
    let times = Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that the library allows");
    let times: Arc<Mutex<Histogram<u64>>> = Arc::new(Mutex::new(times));
    let (on_their_way, arrived) = (Arc::clone(&sent), Arc::clone(&times));
    let common = Common { server: Some(server.address().to_owned()), ..place.common.clone() };
    let client = Client::connect(common).await?;
    let mut lines = Vec::new();
    for _ in 0..settings.connections {
        lines.push(BenchClient::connect(&client).await?);
    }
    let measuring = Instant::now() + settings.warm_up;
    let readers = compose::follow(config, move |order_id| {
        let since = on_their_way.lock().unwrap_or_else(PoisonError::into_inner).remove(order_id);
        // What was sent to warm up is not counted.
        if let Some(since) = since.filter(|since| *since >= measuring) {
            let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(LONGEST);
            arrived.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros.max(1));
        }
    })
    .await
    .map_err(|error| Failure::usage(error.to_string()))?;
    let load = Load {
        work: Arc::clone(work),
        lines,
        pace: settings.pace,
        warm_up: settings.warm_up,
        duration: settings.duration,
        stop,
    };
    let measured = load.run().await;
    check(&measured)?;
    let last = Instant::now();
    while !sent.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        if last.elapsed() > PATIENCE {
            return Err(Failure::usage("events did not arrive within 30 s of their accept"));
        }
        tokio::time::sleep(POLL).await;
    }
    drop(readers);
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    #[expect(clippy::cast_precision_loss, reason = "figures for people, with three digits at most")]
    let calls_per_second = measured.times.len() as f64 / measured.took.as_secs_f64().max(0.001);
    Ok(Arrival { calls_per_second, events: times.len(), latency_ms: Latency::of(&times) })
}

/// An accept that failed may or may not have an event.
fn check(measured: &Measured) -> Result<(), Failure> {
    match (&measured.ended, measured.errors.first_key_value()) {
        (Some(why), _) => Err(Failure::usage(why.clone())),
        (None, Some((reason, count))) => Err(Failure::usage(format!("{count} accepts failed: {reason}"))),
        (None, None) => Ok(()),
    }
}

impl Report {
    fn table(&self) -> String {
        let mut lines = vec![("events", self.events_url.clone())];
        part(&mut lines, ["drained", "drain s", "drain events/s"], &self.drain);
        if let Some(arrival) = &self.arrival {
            lines.push(("accepts/s", format!("{:.0}", arrival.calls_per_second)));
            lines.push(("arrived", count(arrival.events)));
            lines.extend(arrival.latency_ms.lines().map(|(name, time)| (name, format!("{time:.2}"))));
        }
        part(&mut lines, ["consumed", "consume s", "consume events/s"], &self.consumer);
        lines.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name:<18}{value:>14}");
            text
        })
    }
}

fn part(lines: &mut Vec<(&'static str, String)>, names: [&'static str; 3], part: &Phase) {
    let [events, seconds, rate] = names;
    lines.push((events, count(part.events)));
    lines.push((seconds, format!("{:.1}", part.seconds)));
    lines.push((rate, format!("{:.0}", part.events_per_second)));
    lines.extend(part.cpu_us_per_event.map(|cpu| ("  CPU us/event", format!("{cpu:.1}"))));
    lines.extend(part.peak_rss_mib.map(|rss| ("  RSS MiB", format!("{rss:.1}"))));
}

fn count(events: u64) -> String {
    number(i64::try_from(events).unwrap_or(i64::MAX))
}
