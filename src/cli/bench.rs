//! `pvz bench`: reads the options and prints the report. The load generator is
//! [`crate::bench`].

use std::io;
use std::time::Duration;

use serde::Serialize;

use super::client::{Client, Common, Grpc, Speaks, client_command, faults};
use super::config::sources;
use super::escape::plain;
use super::failure::{Failure, Outcome};
use super::output::{Format, Out, number};
use super::stderr;
use crate::adapters::status::{Reason, status_codes};
use crate::bench::{
    BenchError, Figure, Pace, Plan, RelayPlan, Scenario, ServerPlan, ServiceReport, Target, measure_relay,
    measure_service,
};
use crate::config::{password_in_flag, redact};
use crate::proto::v1::ListPackagingRequest;

client_command! {
    /// Measure the throughput and latency of a server that is kept busy with one kind of call.
    /// WRITES ORDERS, all with ids that begin with bench-, and does not delete them: use a
    /// dedicated server, or --embedded.
    #[argh(
        subcommand,
        name = "bench",
        example = "pvz bench accept --embedded\n\
                   pvz bench accept --embedded --store=postgres://pvz@db/scratch --in-flight=256\n\
                   pvz bench issue --orders=100000 --batch=10 --server=127.0.0.1:50051\n\
                   pvz bench mixed-day --embedded --rate=1000 --duration=1m --output=json\n\
                   pvz bench relay --events=kafka://127.0.0.1:9092 --rate=5000",
        note = "Scenarios: accept, issue, get, list, returns, import, mixed-day and relay.\n\
                relay starts all its processes itself. It imports --orders and measures how fast a server\n\
                publishes their events; with --rate, how soon the event of an accept arrives; and then how\n\
                fast a consumer reads all events.\n\
                Without --rate a fixed number of calls is in flight, so a slow server gets fewer calls. With\n\
                --rate calls begin when they are due, whatever the server does, and the latency of each\n\
                is measured from then.\n\
                Ctrl-C ends the run early and prints what was measured. The exit code is 4 if a call was\n\
                refused, 6 if the connection to the server was lost."
    )]
    pub struct Bench {
        /// the kind of call to measure
        #[argh(positional, arg_name = "accept|issue|get|list|returns|import|mixed-day|relay")]
        scenario: String,
        /// calls in flight; for import, rows in flight in each stream (default 64; import 1024)
        #[argh(option, arg_name = "number")]
        in_flight: Option<usize>,
        /// calls that begin each second, instead of --in-flight
        #[argh(option, arg_name = "number")]
        rate: Option<f64>,
        /// how long to measure (default 10s)
        #[argh(option, arg_name = "duration")]
        duration: Option<String>,
        /// how long to run before measuring (default 2s)
        #[argh(option, arg_name = "duration")]
        warm_up: Option<String>,
        /// orders to import first, for scenarios that need existing orders (default 10000; relay
        /// 1000000)
        #[argh(option, arg_name = "number")]
        orders: Option<u64>,
        /// orders that one issue call issues (default 10)
        #[argh(option, arg_name = "number")]
        batch: Option<u64>,
        /// connections that share the calls; for import, the number of streams (default 4)
        #[argh(option, arg_name = "number")]
        connections: Option<usize>,
        /// start a server for the measurement, with a temporary store unless --store is given
        #[argh(switch)]
        embedded: bool,
        /// the store of the embedded server
        #[argh(option, arg_name = "sqlite:FILE|postgres://…|memory:")]
        store: Option<String>,
        /// relay only: where to publish events, Kafka as kafka://host:port/topic; each run adds its own
        /// suffix to the topic (default: a temporary journal)
        #[argh(option, arg_name = "journal:FOLDER|kafka://…")]
        events: Option<String>,
        /// relay only: the store of the consumer (default: a temporary file)
        #[argh(option, arg_name = "sqlite:FILE|postgres://…")]
        inbox: Option<String>,
        /// also measure the database of --store without a server: one transaction per command with
        /// separate statements, and 200 orders per statement over one connection and over two
        #[argh(switch)]
        baseline: bool,
        /// write even if there are orders already
        #[argh(switch)]
        yes: bool,
    }
}

/// The scenario that measures the path of events.
pub(super) const RELAY: &str = "relay";
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
const DEFAULT_WARM_UP: Duration = Duration::from_secs(2);

impl Bench {
    pub(super) async fn run(mut self) -> Outcome {
        let common = self.common();
        for (flag, url) in [("--store", &self.store), ("--inbox", &self.inbox)] {
            if url.as_ref().is_some_and(|url| redact(url) != *url) {
                stderr::line(format_args!("warning: {}", password_in_flag(flag, "PGPASSWORD")));
            }
        }
        if self.scenario == RELAY {
            return self.run_relay(common).await;
        }
        if self.events.is_some() || self.inbox.is_some() {
            return Err(Failure::usage("--events and --inbox are for the scenario relay only").into());
        }
        let scenario = Scenario::parse(&self.scenario).ok_or_else(|| {
            let known = Scenario::NAMES.map(|(name, _)| name).join(", ");
            Failure::usage(format!("unknown scenario {:?}; must be one of {known}, {RELAY}", self.scenario))
        })?;
        let pace = self.pace(scenario)?;
        let baseline = self.baseline_store()?;
        if self.store.is_some() && !self.embedded {
            return Err(
                Failure::usage("--store needs --embedded: it is the store of the embedded server").into()
            );
        }
        if common.server.is_some() && self.embedded {
            return Err(Failure::usage("--server and --embedded cannot be combined").into());
        }
        let (target, format) = target(common.clone(), self.embedded)?;
        let plan = Plan {
            scenario,
            pace,
            warm_up: self.warm_up()?,
            duration: self.duration()?,
            orders: in_range("--orders", self.orders.unwrap_or(10_000), 1, 1_000_000_000)?,
            batch: self.batch()?,
            connections: self.connections()?,
            target,
            server: if self.embedded { ServerPlan::Embedded(self.store) } else { ServerPlan::Running },
            baseline,
            force: self.yes,
            sources: sources([]),
        };
        if !self.embedded {
            require_pvz(common).await?;
        }
        let report = measure_service(&plan).await.map_err(Failure::from)?;
        print(&report, &report.lines(), report.ended_early.as_deref(), format)?;
        Ok(exit_code(&report))
    }

    async fn run_relay(self, common: Common) -> Outcome {
        if common.server.is_some() || self.baseline {
            let why = "relay starts its own servers: it takes neither --server nor --baseline";
            return Err(Failure::usage(why).into());
        }
        let rate = match self.pace(Scenario::Accept)? {
            Pace::Rate(rate) => Some(rate),
            Pace::InFlight(_) => None,
        };
        let (target, format) = target(common, true)?;
        let plan = RelayPlan {
            rate,
            warm_up: self.warm_up()?,
            duration: self.duration()?,
            orders: in_range("--orders", self.orders.unwrap_or(1_000_000), 1, 1_000_000_000)?,
            batch: self.batch()?,
            connections: self.connections()?,
            target,
            store: self.store,
            events: self.events,
            inbox: self.inbox,
            force: self.yes,
            sources: sources([]),
        };
        let report = measure_relay(&plan).await.map_err(Failure::from)?;
        print(&report, &report.lines(), None, format)?;
        Ok(0)
    }

    fn pace(&self, scenario: Scenario) -> Result<Pace, Failure> {
        let default = if scenario == Scenario::Import { 1_024 } else { 64 };
        match (self.rate, self.in_flight) {
            (Some(_), Some(_)) => Err(Failure::usage("--rate and --in-flight cannot be combined")),
            (Some(_), None) if scenario == Scenario::Import => {
                Err(Failure::usage("import has no --rate: the server sets the pace of a stream"))
            }
            (Some(rate), None) => Ok(Pace::Rate(in_range("--rate", rate, 0.001, 1_000_000.0)?)),
            (None, in_flight) => {
                Ok(Pace::InFlight(in_range("--in-flight", in_flight.unwrap_or(default), 1, 65_536)?))
            }
        }
    }

    fn warm_up(&self) -> Result<Duration, Failure> {
        duration("--warm-up", self.warm_up.as_deref(), DEFAULT_WARM_UP)
    }

    fn duration(&self) -> Result<Duration, Failure> {
        match duration("--duration", self.duration.as_deref(), DEFAULT_DURATION)? {
            Duration::ZERO => Err(Failure::usage("--duration must be longer than 0s")),
            duration => Ok(duration),
        }
    }

    fn batch(&self) -> Result<u64, Failure> {
        in_range("--batch", self.batch.unwrap_or(10), 1, 100)
    }

    fn connections(&self) -> Result<usize, Failure> {
        in_range("--connections", self.connections.unwrap_or(4), 1, 1_024)
    }

    /// Returns the store on which to measure the baseline.
    fn baseline_store(&self) -> Result<Option<String>, Failure> {
        match &self.store {
            _ if !self.baseline => Ok(None),
            Some(store) if store.starts_with("postgres") => Ok(Some(store.clone())),
            _ => Err(Failure::usage("--baseline needs --embedded and a PostgreSQL --store")),
        }
    }
}

/// Fails if no pvz server answers. Its errors say more than those of the load generator.
async fn require_pvz(common: Common) -> Result<(), Failure> {
    let client = Client::connect(common).await?;
    let packaging = async |mut grpc: Grpc, request| grpc.list_packaging(request).await;
    client.call(ListPackagingRequest {}, packaging).await.map(drop)
}

/// Returns the target of the calls and the output format. An embedded server gets its address when
/// it starts.
fn target(common: Common, is_embedded: bool) -> Result<(Target, Format), Failure> {
    let server = if is_embedded { Some("127.0.0.1:0".to_owned()) } else { common.server };
    let settings = Common { server, ..common }.resolve()?;
    let metadata = settings.metadata();
    Ok((Target { server: settings.server, metadata, timeout: settings.timeout }, settings.format))
}

fn in_range<T: PartialOrd + Copy + std::fmt::Display>(
    flag: &str,
    value: T,
    min: T,
    max: T,
) -> Result<T, Failure> {
    if (&min..=&max).contains(&&value) {
        Ok(value)
    } else {
        Err(Failure::usage(format!("{flag} must be from {min} to {max}")))
    }
}

fn duration(flag: &str, text: Option<&str>, default: Duration) -> Result<Duration, Failure> {
    let Some(text) = text else { return Ok(default) };
    humantime::parse_duration(text)
        .map_err(|_| Failure::usage(format!("{flag} must be a duration such as 10s or 1m, not {text:?}")))
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Failed(message) => Self::usage(message),
            BenchError::Connect { server, cause } => faults::unreachable(&server, &cause),
            BenchError::Timeout { server, timeout } => faults::no_response(&server, Speaks::Http2, timeout),
            BenchError::Call { server, status } => faults::of_status(&server, Speaks::Http2, &status),
            BenchError::Refused(refusal) => Self::of(*refusal),
        }
    }
}

fn exit_code(report: &ServiceReport) -> u8 {
    if report.is_disconnected {
        status_codes(Reason::Unavailable).exit
    } else if report.errors.is_empty() {
        0
    } else {
        status_codes(Reason::OrderAlreadyExists).exit
    }
}

fn print(
    report: &impl Serialize,
    lines: &[(String, Figure)],
    ended_early: Option<&str>,
    format: Format,
) -> io::Result<()> {
    let mut out = Out::new();
    match format {
        Format::Table => {
            for (name, figure) in lines {
                out.text(&format!("{:<18}{:>14}\n", plain(name), plain(&text(figure))))?;
            }
            if let Some(why) = ended_early {
                out.text(&format!("ended early: {}\n", plain(why)))?;
            }
        }
        Format::Json => out.json(report)?,
        Format::Ndjson => out.line(report)?,
    }
    out.flush()
}

fn text(figure: &Figure) -> String {
    match figure {
        Figure::Text(text) => text.clone(),
        Figure::Count(count) => number(i64::try_from(*count).unwrap_or(i64::MAX)),
        Figure::Decimal(value, decimals) => format!("{value:.decimals$}"),
        Figure::Ratio(ratio) => format!("{ratio:.2} x"),
    }
}
