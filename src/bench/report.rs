//! The figures of a run. The command line prints them: as JSON by `Serialize`,
//! as a table from `lines`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::baseline::Baseline;
use super::measured::{Latencies, Measured};
use super::plan::{Pace, Plan};
use super::processes::ProcessCost;

/// A line of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// A text.
    Text(String),
    /// A number of calls, orders or events.
    Count(u64),
    /// A number with that many decimals.
    Decimal(f64, usize),
    /// A ratio.
    Ratio(f64),
}

/// The report of a scenario.
#[derive(Debug, Serialize)]
pub struct ServiceReport {
    scenario: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    connections: usize,
    seconds: f64,
    calls: u64,
    calls_per_second: f64,
    orders_per_second: f64,
    latency_ms: LatencyMs,
    /// Failed calls by reason.
    pub errors: BTreeMap<String, u64>,
    /// The cause if the run ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_early: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerCost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Ratios>,
    /// The connection to the server was lost.
    #[serde(skip)]
    pub is_disconnected: bool,
}

/// Quantiles of the latency, in milliseconds.
#[derive(Debug, Serialize)]
struct LatencyMs {
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

impl LatencyMs {
    #[expect(clippy::cast_precision_loss, reason = "figures are printed with three digits")]
    fn of(latencies: &Latencies) -> Self {
        let histogram = latencies.histogram();
        let millis = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            p50: millis(0.5),
            p90: millis(0.9),
            p99: millis(0.99),
            p999: millis(0.999),
            max: histogram.max() as f64 / 1_000.0,
        }
    }

    fn lines(&self) -> [(String, Figure); 5] {
        [
            ("p50 ms", self.p50),
            ("p90 ms", self.p90),
            ("p99 ms", self.p99),
            ("p99.9 ms", self.p999),
            ("max ms", self.max),
        ]
        .map(|(name, millis)| (name.to_owned(), Figure::Decimal(millis, 2)))
    }
}

/// The cost of the embedded server.
#[derive(Debug, Serialize)]
struct ServerCost {
    /// Includes the warm-up.
    cpu_seconds: f64,
    cpu_us_per_call: f64,
    peak_rss_mib: f64,
}

/// Orders per second without the service, and the service's rate divided by
/// each.
#[derive(Debug, Serialize)]
struct Ratios {
    per_command_orders_per_second: f64,
    raw_alone_orders_per_second: f64,
    raw_orders_per_second: f64,
    to_per_command: f64,
    to_raw_alone: f64,
    to_raw: f64,
}

impl Ratios {
    fn new(baseline: Baseline, orders_per_second: f64) -> Self {
        Self {
            per_command_orders_per_second: baseline.per_command,
            raw_alone_orders_per_second: baseline.raw_alone,
            raw_orders_per_second: baseline.raw,
            to_per_command: orders_per_second / baseline.per_command,
            to_raw_alone: orders_per_second / baseline.raw_alone,
            to_raw: orders_per_second / baseline.raw,
        }
    }
}

impl ServiceReport {
    #[expect(clippy::cast_precision_loss, reason = "figures are printed with three digits")]
    pub(super) fn new(
        plan: &Plan,
        measured: &Measured,
        cost: Option<ProcessCost>,
        baseline: Option<Baseline>,
    ) -> Self {
        let seconds = measured.took.as_secs_f64().max(0.001);
        let calls = measured.latencies.histogram().len();
        let orders_per_second = measured.orders as f64 / seconds;
        let (in_flight, rate) = match plan.pace {
            Pace::InFlight(in_flight) => (Some(in_flight), None),
            Pace::Rate(rate) => (None, Some(rate)),
        };
        // The CPU time includes the warm-up, the calls do not.
        let measured_share = seconds / (seconds + plan.warm_up.as_secs_f64());
        Self {
            scenario: plan.scenario.name(),
            in_flight,
            rate,
            connections: plan.connections,
            seconds,
            calls,
            calls_per_second: calls as f64 / seconds,
            orders_per_second,
            latency_ms: LatencyMs::of(&measured.latencies),
            errors: measured.errors.clone(),
            ended_early: measured.ended_early.clone(),
            server: cost.map(|cost| ServerCost {
                cpu_seconds: cost.cpu.as_secs_f64(),
                cpu_us_per_call: cost.cpu.as_secs_f64() * measured_share * 1e6 / calls.max(1) as f64,
                peak_rss_mib: cost.peak_rss as f64 / f64::from(1 << 20),
            }),
            baseline: baseline.map(|baseline| Ratios::new(baseline, orders_per_second)),
            is_disconnected: measured.is_disconnected,
        }
    }

    /// Returns the lines of the table.
    pub fn lines(&self) -> Vec<(String, Figure)> {
        let mut lines = Vec::new();
        let mut line = |name: &str, figure: Figure| lines.push((name.to_owned(), figure));
        line("scenario", Figure::Text(self.scenario.to_owned()));
        match (self.in_flight, self.rate) {
            (Some(in_flight), _) => line("in flight", Figure::Text(in_flight.to_string())),
            (_, Some(rate)) => line("target calls/s", Figure::Text(rate.to_string())),
            _ => {}
        }
        line("connections", Figure::Text(self.connections.to_string()));
        line("seconds", Figure::Decimal(self.seconds, 1));
        line("calls", Figure::Count(self.calls));
        line("calls/s", Figure::Decimal(self.calls_per_second, 0));
        line("orders/s", Figure::Decimal(self.orders_per_second, 0));
        for (name, figure) in self.latency_ms.lines() {
            line(&name, figure);
        }
        if let Some(server) = &self.server {
            line("server CPU us/call", Figure::Decimal(server.cpu_us_per_call, 1));
            line("server RSS MiB", Figure::Decimal(server.peak_rss_mib, 1));
        }
        if let Some(baseline) = &self.baseline {
            line("per command/s", Figure::Decimal(baseline.per_command_orders_per_second, 0));
            line("raw insert/s, 1", Figure::Decimal(baseline.raw_alone_orders_per_second, 0));
            line("raw insert/s, 2", Figure::Decimal(baseline.raw_orders_per_second, 0));
            line("to per command", Figure::Ratio(baseline.to_per_command));
            line("to raw insert, 1", Figure::Ratio(baseline.to_raw_alone));
            line("to raw insert, 2", Figure::Ratio(baseline.to_raw));
        }
        for (reason, count) in &self.errors {
            line(reason, Figure::Text(count.to_string()));
        }
        lines
    }
}

/// The report of the path of events.
#[derive(Debug, Serialize)]
pub struct RelayReport {
    scenario: &'static str,
    events_url: String,
    drain: Throughput,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrival: Option<Arrival>,
    consumer: Throughput,
}

/// Events that one process moved.
#[derive(Debug, Serialize)]
pub(super) struct Throughput {
    events: u64,
    seconds: f64,
    events_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_event: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_mib: Option<f64>,
}

impl Throughput {
    #[expect(clippy::cast_precision_loss, reason = "figures are printed with three digits")]
    pub(super) fn new(events: u64, took: Duration, cost: Option<ProcessCost>) -> Self {
        let seconds = took.as_secs_f64().max(0.001);
        Self {
            events,
            seconds,
            events_per_second: events as f64 / seconds,
            cpu_us_per_event: cost.map(|cost| cost.cpu.as_secs_f64() * 1e6 / events.max(1) as f64),
            peak_rss_mib: cost.map(|cost| cost.peak_rss as f64 / f64::from(1 << 20)),
        }
    }

    fn lines(&self, [events, seconds, rate]: [&str; 3]) -> Vec<(String, Figure)> {
        let mut lines = vec![
            (events.to_owned(), Figure::Count(self.events)),
            (seconds.to_owned(), Figure::Decimal(self.seconds, 1)),
            (rate.to_owned(), Figure::Decimal(self.events_per_second, 0)),
        ];
        lines.extend(self.cpu_us_per_event.map(|cpu| ("  CPU us/event".to_owned(), Figure::Decimal(cpu, 1))));
        lines.extend(self.peak_rss_mib.map(|rss| ("  RSS MiB".to_owned(), Figure::Decimal(rss, 1))));
        lines
    }
}

/// Latency from sending an accept to reading its event from the sink.
#[derive(Debug, Serialize)]
pub(super) struct Arrival {
    calls_per_second: f64,
    events: u64,
    latency_ms: LatencyMs,
}

impl Arrival {
    #[expect(clippy::cast_precision_loss, reason = "figures are printed with three digits")]
    pub(super) fn new(measured: &Measured, latencies: &Latencies) -> Self {
        let calls = measured.latencies.histogram().len();
        Self {
            calls_per_second: calls as f64 / measured.took.as_secs_f64().max(0.001),
            events: latencies.histogram().len(),
            latency_ms: LatencyMs::of(latencies),
        }
    }
}

impl RelayReport {
    pub(super) fn new(
        events_url: String,
        drain: Throughput,
        arrival: Option<Arrival>,
        consumer: Throughput,
    ) -> Self {
        Self { scenario: "relay", events_url, drain, arrival, consumer }
    }

    /// Returns the lines of the table.
    pub fn lines(&self) -> Vec<(String, Figure)> {
        let mut lines = vec![("events".to_owned(), Figure::Text(self.events_url.clone()))];
        lines.extend(self.drain.lines(["drained", "drain s", "drain events/s"]));
        if let Some(arrival) = &self.arrival {
            lines.push(("accepts/s".to_owned(), Figure::Decimal(arrival.calls_per_second, 0)));
            lines.push(("arrived".to_owned(), Figure::Count(arrival.events)));
            lines.extend(arrival.latency_ms.lines());
        }
        lines.extend(self.consumer.lines(["consumed", "consume s", "consume events/s"]));
        lines
    }
}
