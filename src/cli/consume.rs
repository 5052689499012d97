//! `pvz consume`: a consumer of events.

use std::io::{self, Write as _};

use super::config::{EXIT_FAULTY, configured_command, load};
use super::errors::printed;
use super::escape::plain;
use super::serve::failed;
use super::stderr;
use crate::app::Ingested;
use crate::compose::{self, ConsumeOptions, Start};
use crate::config::Config;
use crate::lifecycle::{self, Lifecycle};
use crate::telemetry;

configured_command! {
    /// Consume the published events (--events) and collect the statistics that `pvz stats` shows. Stores
    /// each event exactly once in the inbox (--inbox) and logs it. Several consumers may share an inbox
    /// in PostgreSQL.
    #[argh(
        subcommand,
        name = "consume",
        example = "Consume the journal in the data directory:\n  {command_name}\nConsume a Kafka topic:\n  {command_name} --events=kafka://127.0.0.1:9092\nConsume every event published so far, and exit:\n  {command_name} --once"
    )]
    pub struct Consume {
        /// the consumer's store (default: consumer.db in the data directory)
        #[argh(option, arg_name = "sqlite:FILE|postgres://…")]
        pub inbox: Option<String>,
        /// where to begin in a partition that was never read; an instant is 2026-12-31T10:00:00Z for
        /// example (default earliest)
        #[argh(option, arg_name = "earliest|latest|INSTANT")]
        pub from: Option<String>,
        /// begin at --from also in partitions that were read before; events that are read again change
        /// nothing
        #[argh(switch)]
        pub rewind: bool,
        /// exit after reading every event published so far
        #[argh(switch)]
        pub once: bool,
    }
}

impl Consume {
    /// Consumes until a signal arrives; with `--once`, until every event is read.
    pub async fn run(self) -> u8 {
        let mut sources = self.sources();
        // The flag sets the key of the server; a consumer has a key of its own.
        if let Some(at) = sources.flags.iter().position(|(flag, _)| *flag == "--admin-addr") {
            let (_, value) = sources.flags.swap_remove(at);
            sources.env.push(("PVZ_CONSUMER_ADMIN_ADDR".into(), value.into()));
        }
        sources.flags.extend(self.inbox.clone().map(|inbox| ("--inbox", inbox)));
        let start = match start(self.from.as_deref()) {
            Ok(start) => start,
            Err(why) => {
                stderr::line(format_args!("error: VALIDATION_FAILED: --from {why}"));
                return EXIT_FAULTY;
            }
        };
        let config = match load(&sources) {
            Ok(loaded) => loaded.config,
            Err(code) => return code,
        };
        if let Err(error) = telemetry::init(&config.log) {
            return failed(&error);
        }
        let signals = match lifecycle::signals() {
            Ok(signals) => signals,
            Err(error) => return failed(&error),
        };
        let life = Lifecycle::new();
        let options = ConsumeOptions { start, rewind: self.rewind, once: self.once };
        let (addr, consumed) = match compose::consume(&config, options, &life).await {
            Ok(started) => started,
            Err(error) => return failed(&error),
        };
        if !self.once
            && let Err(error) = banner(&config, addr)
        {
            tracing::warn!(%error, "cannot print the banner");
        }
        let code = life.run(signals, config.server.drain_deadline).await.code();
        match consumed.await {
            Ok(ingested) if self.once => printed(summary(&ingested), code),
            _ => code,
        }
    }
}

fn start(from: Option<&str>) -> Result<Start, &'static str> {
    match from {
        None | Some("earliest") => Ok(Start::Earliest),
        Some("latest") => Ok(Start::Latest),
        Some(instant) => compose::instant(instant)
            .map(Start::At)
            .ok_or("must be earliest, latest or an instant such as 2026-12-31T10:00:00Z"),
    }
}

fn banner(config: &Config, addr: std::net::SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "pvz {} consumes", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  events {}", plain(&config.events.url.to_string()))?;
    writeln!(out, "  inbox  {}", plain(&config.consumer.store.to_string()))?;
    writeln!(out, "  admin  http://{addr}/readyz")?;
    out.flush()
}

fn summary(ingested: &Ingested) -> io::Result<()> {
    let Ingested { records, applied, duplicates, conflicts, unknown, dead_letters, unreadable } = ingested;
    let mut out = io::stdout().lock();
    write!(
        out,
        "read {records} records: {applied} new events, {duplicates} duplicates, {unknown} of unknown types, \
         {dead_letters} undecodable"
    )?;
    if *conflicts > 0 {
        write!(out, ", {conflicts} in conflict with applied events (see the log)")?;
    }
    if *unreadable > 0 {
        write!(out, ", {unreadable} unreadable (see the log)")?;
    }
    writeln!(out)?;
    out.flush()
}
