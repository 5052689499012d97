//! `pvz bench`: how fast a server is.
//!
//! - `embedded` is a server of our own, and what it costs.
//! - `work` makes the calls of a scenario and what they need beforehand.
//! - `line` is a connection that the calls are made on.
//! - `load` makes them, so many at once or so many a second, and measures.
//! - `import` does the same for the stream.
//! - `relay` measures the way of the events instead.
//! - `report` prints it.

mod embedded;
mod import;
mod line;
mod load;
mod measured;
mod relay;
mod report;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::client::{Client, Common, Failure, Outcome, client_command};
use crate::cli::config::sources;
use crate::compose::{self, Baseline};
use crate::config::Config;
use crate::proto::v1::ListOrdersRequest;

use embedded::{Cost, Embedded, Folder};
use line::BenchClient;
use load::{Load, Pace};
use report::Report;
use work::{Scenario, Work};

client_command! {
    /// Measure how fast a server is: keeps it busy with one kind of call and prints how many it
    /// answered and how long they took. It WRITES orders, all with ids that begin with bench-, and they
    /// stay: use a server made for it, or --embedded.
    #[argh(
        subcommand,
        name = "bench",
        example = "pvz bench accept --embedded\n\
                   pvz bench accept --embedded --store=postgres://pvz@db/scratch --in-flight=256\n\
                   pvz bench issue --orders=100000 --batch=10 --server=127.0.0.1:50051\n\
                   pvz bench mixed-day --embedded --rate=1000 --duration=1m --output=json\n\
                   pvz bench relay --events=kafka://127.0.0.1:9092 --rate=5000",
        note = "Scenarios: accept, issue, get, list, returns, import, mixed-day and relay.\n\
                relay starts all its processes itself: it imports --orders, times how fast a server sends\n\
                their events, with --rate also how soon the event of an accept arrives, and then how fast a\n\
                consumer takes all of them in.\n\
                Without --rate a fixed number of calls is always under way, and a slow server is asked less\n\
                often. With --rate calls begin when they are due whatever the server does, and each is timed\n\
                from then.\n\
                Ctrl-C ends early and prints what was measured. The exit code is 4 if any call was refused,\n\
                6 if the server went away."
    )]
    pub struct Bench {
        /// accept, issue, get, list, returns, import, mixed-day or relay
        #[argh(positional, arg_name = "scenario")]
        scenario: String,
        /// how many calls are under way at once; of import, rows a stream (default 64; import 1024)
        #[argh(option, arg_name = "number")]
        in_flight: Option<usize>,
        /// how many calls begin each second, instead of so many at once
        #[argh(option, arg_name = "number")]
        rate: Option<f64>,
        /// how long to measure (default 10s)
        #[argh(option, arg_name = "duration")]
        duration: Option<String>,
        /// how long to run before measuring (default 2s)
        #[argh(option, arg_name = "duration")]
        warm_up: Option<String>,
        /// how many orders to import first, for the scenarios that need some (default 10000; relay
        /// 1000000)
        #[argh(option, arg_name = "number")]
        orders: Option<u64>,
        /// how many orders an issue has (default 10)
        #[argh(option, arg_name = "number")]
        batch: Option<u64>,
        /// how many connections share the calls; of import, the streams (default 4)
        #[argh(option, arg_name = "number")]
        connections: Option<usize>,
        /// start a server for the time of the measurement, with a store of its own unless --store is
        /// given
        #[argh(switch)]
        embedded: bool,
        /// the store of that server: sqlite:PATH, postgres://… or memory:
        #[argh(option, arg_name = "url")]
        store: Option<String>,
        /// of relay: where the events go, journal:DIR or kafka://host:port/topic; the run gets a topic of its
        /// own, named after it (default a journal in a folder of the run's own)
        #[argh(option, arg_name = "url")]
        events: Option<String>,
        /// of relay: the consumer's store, sqlite:PATH or postgres://… (default a file of the run's own)
        #[argh(option, arg_name = "url")]
        inbox: Option<String>,
        /// also measure the database of --store without a server: one transaction a command with
        /// separate statements, and 200 orders a statement over one connection and over two
        #[argh(switch)]
        baseline: bool,
        /// write also where there are orders already
        #[argh(switch)]
        yes: bool,
    }
}

/// The options as they are meant.
#[derive(Debug)]
struct Settings {
    scenario: Scenario,
    pace: Pace,
    duration: Duration,
    warm_up: Duration,
    orders: u64,
    batch: u64,
    connections: usize,
    baseline: Option<Config>,
}

impl Bench {
    pub(super) async fn run(mut self) -> Outcome {
        let mut common = self.common();
        if self.scenario == RELAY {
            if common.server.is_some() || self.baseline {
                let why = "relay starts servers of its own: it takes neither --server nor --baseline";
                return Err(Failure::usage(why).into());
            }
            return relay::run(&self, common, &self.settings()?).await;
        }
        if self.events.is_some() || self.inbox.is_some() {
            return Err(Failure::usage("--events and --inbox are for the scenario relay").into());
        }
        let settings = self.settings()?;
        if self.store.is_some() && !self.embedded {
            return Err(Failure::usage("--store is the store of --embedded").into());
        }
        if common.server.is_some() && self.embedded {
            return Err(Failure::usage("--server and --embedded exclude each other").into());
        }
        let folder = Folder::new()?;
        let own = format!("sqlite:{}", folder.path().join("pvz.db").display());
        let store = self.store.as_deref().unwrap_or(&own);
        let start = Embedded::start(folder.path(), store, "none:");
        let embedded = if self.embedded { Some(start.await?) } else { None };
        if let Some(embedded) = &embedded {
            common.server = Some(embedded.address().to_owned());
        }
        let outcome = measure(&settings, common, embedded.as_ref(), self.yes).await;
        if let Some(embedded) = embedded {
            embedded.stop().await;
        }
        outcome
    }

    fn settings(&self) -> Result<Settings, Failure> {
        // Of the relay only the pace matters, which is that of accepts.
        let name = if self.scenario == RELAY { "accept" } else { &self.scenario };
        let scenario = Scenario::parse(name).ok_or_else(|| {
            let known = Scenario::NAMES.map(|(name, _)| name).join(", ");
            Failure::usage(format!("the scenario {:?} is none of {known} and {RELAY}", self.scenario))
        })?;
        let default = if scenario == Scenario::Import { 1_024 } else { 64 };
        let orders = if self.scenario == RELAY { 1_000_000 } else { 10_000 };
        let pace = match (self.rate, self.in_flight) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage("--rate and --in-flight exclude each other"));
            }
            (Some(_), None) if scenario == Scenario::Import => {
                return Err(Failure::usage("import has no --rate: the server sets the pace of a stream"));
            }
            (Some(rate), None) if rate.is_finite() && (0.001..=1_000_000.0).contains(&rate) => {
                Pace::Rate(rate)
            }
            (Some(_), None) => return Err(Failure::usage("--rate must be from 0.001 to 1000000")),
            (None, in_flight) => {
                Pace::InFlight(within("--in-flight", in_flight.unwrap_or(default), 1, 65_536)?)
            }
        };
        Ok(Settings {
            scenario,
            pace,
            duration: duration("--duration", self.duration.as_deref(), Duration::from_secs(10))?,
            warm_up: duration("--warm-up", self.warm_up.as_deref(), Duration::from_secs(2))?,
            orders: within("--orders", self.orders.unwrap_or(orders), 1, 1_000_000_000)?,
            batch: within("--batch", self.batch.unwrap_or(10), 1, 100)?,
            connections: within("--connections", self.connections.unwrap_or(4), 1, 1_024)?,
            baseline: self.baseline_config()?,
        })
    }
}

/// The scenario that measures the way of the events.
const RELAY: &str = "relay";
/// How many connections the baseline with a transaction a command has.
const BASELINE_CONNECTIONS: usize = 32;

impl Bench {
    /// The configuration whose store the baseline is measured on.
    fn baseline_config(&self) -> Result<Option<Config>, Failure> {
        if !self.baseline {
            return Ok(None);
        }
        if !self.store.as_deref().is_some_and(|store| store.starts_with("postgres")) {
            return Err(Failure::usage("--baseline needs --embedded and a --store in PostgreSQL"));
        }
        let loaded = Config::load(&sources([("--store", &self.store)]));
        loaded.map(|(config, _)| Some(config)).map_err(|errors| Failure::usage(errors.to_string()))
    }
}

async fn baseline(settings: &Settings) -> Result<Option<Baseline>, Failure> {
    let Some(config) = &settings.baseline else { return Ok(None) };
    anstream::eprintln!("measuring the baselines");
    compose::baseline(config, BASELINE_CONNECTIONS, settings.duration).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Failure::usage(format!("{error}{}", cause.unwrap_or_default()))
    })
}

fn within<T: PartialOrd + Copy + std::fmt::Display>(
    flag: &str,
    value: T,
    least: T,
    most: T,
) -> Result<T, Failure> {
    if (&least..=&most).contains(&&value) {
        Ok(value)
    } else {
        Err(Failure::usage(format!("{flag} must be from {least} to {most}")))
    }
}

fn duration(flag: &str, text: Option<&str>, default: Duration) -> Result<Duration, Failure> {
    let Some(text) = text else { return Ok(default) };
    match humantime::parse_duration(text) {
        Ok(parsed) if flag == "--warm-up" || !parsed.is_zero() => Ok(parsed),
        _ => Err(Failure::usage(format!("{flag} {text:?} is not a duration such as 10s or 1m"))),
    }
}

async fn measure(settings: &Settings, common: Common, embedded: Option<&Embedded>, yes: bool) -> Outcome {
    let client = Client::connect(common.clone()).await?;
    if !yes {
        refuse_if_used(&client).await?;
    }
    let (mut clients, mut lines) = (vec![], vec![]);
    for _ in 0..settings.connections {
        match settings.scenario {
            Scenario::Import => clients.push(Client::connect(common.clone()).await?),
            _ => lines.push(BenchClient::connect(&client).await?),
        }
    }
    let work = Arc::new(Work::new(settings.scenario, settings.batch));
    anstream::eprintln!("writing to {}: orders {}*", client.server, work.prefix());
    let stop = interrupt();
    let orders = if settings.scenario.needs_orders() { settings.orders } else { 0 };
    let ready = work.prepare(&client, orders, &stop).await?;
    if !ready {
        return Err(Failure::usage("interrupted before anything was measured").into());
    }
    let before = embedded.and_then(Embedded::cost);
    let load = Load {
        work: Arc::clone(&work),
        lines,
        pace: settings.pace,
        warm_up: settings.warm_up,
        duration: settings.duration,
        stop,
    };
    let measured = if settings.scenario == Scenario::Import {
        import::run(load, clients).await
    } else {
        load.run().await
    };
    let cost = embedded
        .and_then(Embedded::cost)
        .zip(before)
        .map(|(after, before)| Cost { cpu: after.cpu.saturating_sub(before.cpu), peak_rss: after.peak_rss });
    let baseline = baseline(settings).await?;
    Report::new(settings, &measured, cost, baseline).print(client.format)?;
    Ok(measured.exit_code())
}

/// Nobody benches the store of a business by accident.
async fn refuse_if_used(client: &Client) -> Result<(), Failure> {
    let one = ListOrdersRequest { page_size: 1, ..ListOrdersRequest::default() };
    let page = client.call(one, async |mut grpc, request| grpc.list_orders(request).await).await?;
    if page.orders.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} has orders already, and a bench would leave many more in it; with --yes it writes all the same",
        client.server
    )))
}

/// Cancelled by Ctrl-C.
fn interrupt() -> CancellationToken {
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    stop
}
