//! `pvz migrate`: the schema of a store.

use std::io::{self, Write as _};

use argh::{ArgsInfo, FromArgs};

use super::config::{configured_command, load};
use super::serve::failed;
use crate::compose::{self, SchemaStep};
use crate::config::Sources;

configured_command! {
    /// Brings the schema of a store up to date, for a service that does not do
    /// so itself when it starts. On PostgreSQL any number of these may run at
    /// once, also beside servers of the release before.
    #[argh(
        subcommand,
        name = "migrate",
        example = "Prepare a database:\n  {command_name} --store=postgres://pvz@db/pvz\nSee what it would do:\n  {command_name} status --store=postgres://pvz@db/pvz"
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
    /// Prints which steps of the schema a store has.
    #[argh(subcommand, name = "status")]
    pub struct Status {}
}

impl Migrate {
    /// Migrates, or says what that would do.
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
                steps => format!("to be done by `pvz migrate`: {steps}"),
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
    let mut out = io::stdout().lock();
    for line in lines {
        // A closed pipe is no failure of what was done.
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(out, "{last}");
    0
}
