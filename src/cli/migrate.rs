//! `pvz migrate`: the schema of a store.

use argh::{ArgsInfo, FromArgs};

use super::config::{configured_command, load};
use super::errors::printed;
use super::escape::plain;
use super::output::print_text;
use super::serve::failed;
use crate::compose::{self, SchemaStep};
use crate::config::Sources;
use crate::telemetry;

configured_command! {
    /// Update the schema of a store, if the server does not do so when it starts (serve --migrate). On
    /// PostgreSQL several of these commands may run at the same time, and next to servers of the
    /// previous release.
    #[argh(
        subcommand,
        name = "migrate",
        example = "Prepare a database:\n  {command_name} --store=postgres://pvz@db/pvz\nShow what it would do:\n  {command_name} status --store=postgres://pvz@db/pvz"
    )]
    pub struct Migrate {
        #[argh(subcommand)]
        action: Option<Action>,
    }
}

#[derive(Debug, Clone, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Action {
    Status(Status),
}

configured_command! {
    /// Print which schema steps are applied and which are pending.
    #[argh(subcommand, name = "status")]
    pub struct Status {}
}

impl Migrate {
    /// Runs the command and returns the exit code.
    pub async fn run(self) -> u8 {
        match &self.action {
            None => migrate(&self.sources()).await,
            Some(Action::Status(status)) => show(&status.sources()).await,
        }
    }
}

async fn migrate(sources: &Sources) -> u8 {
    let config = match load(sources) {
        Ok(loaded) => loaded.config,
        Err(code) => return code,
    };
    // Shows for whom a migration waits.
    if let Err(error) = telemetry::init(&config.log) {
        return failed(&error);
    }
    match compose::migrate(&config).await {
        Ok(applied) => print(&applied, "the schema is up to date"),
        Err(error) => failed(&error),
    }
}

async fn show(sources: &Sources) -> u8 {
    let config = match load(sources) {
        Ok(loaded) => loaded.config,
        Err(code) => return code,
    };
    match compose::schema(&config).await {
        Ok(steps) => {
            let pending = steps.iter().filter(|step| !step.applied).count();
            let last = match pending {
                0 => "the schema is up to date".to_owned(),
                steps => format!("pending steps: {steps}; run: {}", compose::migrate_command(&config)),
            };
            let line = |step: &SchemaStep| {
                format!("{} {}", if step.applied { "applied" } else { "pending" }, step.name)
            };
            print(&steps.iter().map(line).collect::<Vec<_>>(), &last)
        }
        Err(error) => failed(&error),
    }
}

fn print(lines: &[String], last: &str) -> u8 {
    let last = plain(last);
    let lines = lines.iter().map(String::as_str).chain([last.as_ref()]);
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    printed(print_text(&text), 0)
}
