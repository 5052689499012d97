//! `pvz serve`: the server.

use std::io::{self, Write as _};
use std::thread::available_parallelism;

use tokio::runtime::Builder;

use super::config::{configured_command, load};
use super::escape::plain;
use super::run_on;
use crate::compose::{self, Addresses, Environment};
use crate::config::Config;
use crate::lifecycle::{self, Lifecycle};
use crate::telemetry;

/// Exit code of a server that could not start.
const EXIT_START: u8 = 1;

configured_command! {
    /// Run the server: gRPC, REST, metrics and health checks. Needs nothing else: by default orders and
    /// events are stored in the data directory.
    #[argh(
        subcommand,
        name = "serve",
        example = "Run with a store in the data directory:\n  {command_name}\nRun with another store and on another port:\n  {command_name} --store=sqlite:/srv/pvz.db --grpc-addr=127.0.0.1:6000"
    )]
    pub struct Serve {
        /// update the schema of the store first
        #[argh(switch)]
        pub migrate: bool,
        /// start although the store has no events and the journal or topic has: for a new store there
        #[argh(switch)]
        pub allow_empty_store: bool,
    }
}

impl Serve {
    /// Serves until a signal arrives or a part of the server fails.
    pub(super) fn run(self) -> u8 {
        let mut sources = self.sources();
        if self.migrate {
            sources.flags.push(("--migrate", true.to_string()));
        }
        if self.allow_empty_store {
            sources.flags.push(("--allow-empty-store", true.to_string()));
        }
        let config = match load(&sources) {
            Ok(loaded) => loaded.config,
            Err(code) => return code,
        };
        let mut threads = Builder::new_multi_thread();
        threads.worker_threads(config.server.threads.unwrap_or_else(one_less_than_cores));
        run_on(threads, serve(config))
    }
}

fn one_less_than_cores() -> usize {
    available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

async fn serve(config: Config) -> u8 {
    if let Err(error) = telemetry::init(&config.log) {
        return failed(&error);
    }
    // Installed before the store is opened, so that a signal during a long
    // migration does not kill the process.
    let signals = match lifecycle::signals() {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    let life = Lifecycle::new();
    let addresses = match Box::pin(compose::start(&config, Environment::system(), &life)).await {
        Ok(addresses) => addresses,
        Err(error) => return failed(&error),
    };
    if let Err(error) = banner(&config, addresses) {
        tracing::warn!(%error, "cannot print the banner");
    }
    life.run(signals, config.server.drain_deadline).await.code()
}

/// Prints an error with its causes and returns the exit code.
pub(super) fn failed(error: &dyn std::error::Error) -> u8 {
    let mut line = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    // Ignored: there is nowhere else to report it.
    let _ = writeln!(io::stderr(), "{}", plain(&line));
    EXIT_START
}

fn banner(config: &Config, addresses: Addresses) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "pvz {} is ready", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  gRPC   {}", addresses.grpc)?;
    writeln!(out, "  REST   http://{}/swagger-ui/", addresses.http)?;
    writeln!(out, "  admin  http://{}/readyz", addresses.admin)?;
    writeln!(out, "  store  {}", plain(&config.store.url.to_string()))?;
    writeln!(out, "  events {}", plain(&config.events.url.to_string()))?;
    writeln!(out, "  data   {}", plain(&config.data_dir.to_string_lossy()))?;
    out.flush()
}
