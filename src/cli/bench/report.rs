//! How a measurement is printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Settings;
use super::embedded::Cost;
use super::load::Pace;
use super::measured::Measured;
use crate::cli::output::{Format, Out, number};
use crate::compose::Baseline;

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
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
    latency_ms: Latency,
    errors: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_early: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Ratios>,
}

#[derive(Debug, Serialize)]
pub(super) struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

/// Prints a report, as a table for people.
pub(super) fn print<R: Serialize>(
    report: &R,
    table: impl Fn(&R) -> String,
    format: Format,
) -> io::Result<()> {
    let mut out = Out::new();
    match format {
        Format::Table => out.text(&table(report))?,
        Format::Json => out.json(report)?,
        Format::Ndjson => out.line(report)?,
    }
    out.flush()
}

impl Latency {
    #[expect(clippy::cast_precision_loss, reason = "figures for people, with three digits at most")]
    pub(super) fn of(micros: &Histogram<u64>) -> Self {
        let millis = |quantile: f64| micros.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            p50: millis(0.5),
            p90: millis(0.9),
            p99: millis(0.99),
            p999: millis(0.999),
            max: micros.max() as f64 / 1_000.0,
        }
    }

    pub(super) fn lines(&self) -> [(&'static str, f64); 5] {
        [
            ("p50 ms", self.p50),
            ("p90 ms", self.p90),
            ("p99 ms", self.p99),
            ("p99.9 ms", self.p999),
            ("max ms", self.max),
        ]
    }
}

/// What the server that we started took.
#[derive(Debug, Serialize)]
struct Server {
    /// Of the warm-up too.
    cpu_seconds: f64,
    cpu_us_per_call: f64,
    peak_rss_mib: f64,
}

/// Orders a second without the service, and how the service compares.
#[derive(Debug, Serialize)]
struct Ratios {
    per_command_orders_per_second: f64,
    raw_alone_orders_per_second: f64,
    raw_orders_per_second: f64,
    to_per_command: f64,
    to_raw_alone: f64,
    to_raw: f64,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "figures for people, with three digits at most")]
    pub(super) fn new(
        settings: &Settings,
        measured: &Measured,
        cost: Option<Cost>,
        baseline: Option<Baseline>,
    ) -> Self {
        let orders = |seconds: f64| measured.orders as f64 / seconds;
        let seconds = measured.took.as_secs_f64().max(0.001);
        let calls = measured.times.len();
        let (in_flight, rate) = match settings.pace {
            Pace::InFlight(in_flight) => (Some(in_flight), None),
            Pace::Rate(rate) => (None, Some(rate)),
        };
        // The server worked during the warm-up as well.
        let share = seconds / (seconds + settings.warm_up.as_secs_f64());
        Self {
            scenario: settings.scenario.name(),
            in_flight,
            rate,
            connections: settings.connections,
            seconds,
            calls,
            calls_per_second: calls as f64 / seconds,
            orders_per_second: measured.orders as f64 / seconds,
            latency_ms: Latency::of(&measured.times),
            errors: measured.errors.clone(),
            ended_early: measured.ended.clone(),
            server: cost.map(|cost| Server {
                cpu_seconds: cost.cpu.as_secs_f64(),
                cpu_us_per_call: cost.cpu.as_secs_f64() * share * 1e6 / calls.max(1) as f64,
                peak_rss_mib: cost.peak_rss as f64 / f64::from(1 << 20),
            }),
            baseline: baseline.map(|baseline| Ratios {
                per_command_orders_per_second: baseline.per_command,
                raw_alone_orders_per_second: baseline.raw_alone,
                raw_orders_per_second: baseline.raw,
                to_per_command: orders(seconds) / baseline.per_command,
                to_raw_alone: orders(seconds) / baseline.raw_alone,
                to_raw: orders(seconds) / baseline.raw,
            }),
        }
    }

    pub(super) fn print(&self, format: Format) -> io::Result<()> {
        print(self, Self::table, format)
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<18}{value:>14}");
        };
        line("scenario", self.scenario.to_owned());
        match (self.in_flight, self.rate) {
            (Some(in_flight), _) => line("in flight", in_flight.to_string()),
            (_, Some(rate)) => line("calls/s asked", format!("{rate}")),
            _ => {}
        }
        line("connections", self.connections.to_string());
        line("seconds", format!("{:.1}", self.seconds));
        line("calls", number(i64::try_from(self.calls).unwrap_or(i64::MAX)));
        line("calls/s", format!("{:.0}", self.calls_per_second));
        line("orders/s", format!("{:.0}", self.orders_per_second));
        for (name, time) in self.latency_ms.lines() {
            line(name, format!("{time:.2}"));
        }
        if let Some(server) = &self.server {
            line("server CPU us/call", format!("{:.1}", server.cpu_us_per_call));
            line("server RSS MiB", format!("{:.1}", server.peak_rss_mib));
        }
        if let Some(baseline) = &self.baseline {
            line("per command/s", format!("{:.0}", baseline.per_command_orders_per_second));
            line("raw insert/s, 1", format!("{:.0}", baseline.raw_alone_orders_per_second));
            line("raw insert/s, 2", format!("{:.0}", baseline.raw_orders_per_second));
            line("to per command", format!("{:.2} x", baseline.to_per_command));
            line("to raw insert, 1", format!("{:.2} x", baseline.to_raw_alone));
            line("to raw insert, 2", format!("{:.2} x", baseline.to_raw));
        }
        for (reason, count) in &self.errors {
            line(reason, count.to_string());
        }
        if let Some(why) = &self.ended_early {
            let _ = writeln!(text, "ended early: {why}");
        }
        text
    }
}
