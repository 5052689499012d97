//! The command line. Every command is a file; this one has the list of them.
//!
//! - `args` and `help` stand between the shell and argh: `--opt=value`, exit
//!   code 2, nearest names, help for people.
//! - `client` speaks gRPC to a server: connection, retries, refusals.
//! - `bench` measures a server.
//! - `orders`, `import` and `events` are the commands that do so; `output` is
//!   how they print.

mod args;
mod bench;
mod client;
mod completion;
pub mod config;
mod consume;
mod help;
mod import;
mod migrate;
mod orders;
mod output;
mod serve;
mod verify;

use std::ffi::OsString;

use argh::{ArgsInfo, FromArgs};
use tokio::runtime::Builder;

use args::{Invocation, UsageError};
use client::{Outcome, Stop};

/// Order management for marketplace pick-up points: a server, and the commands
/// of the counter, which speak to it.
#[derive(Debug, FromArgs, ArgsInfo)]
struct Pvz {
    #[argh(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum Command {
    /// Couriers bring an order.
    Accept(orders::Accept),
    /// A customer collects orders.
    Issue(orders::Issue),
    /// A customer brings an order back.
    AcceptReturn(orders::AcceptReturn),
    /// Orders go away with a courier.
    ReturnToCourier(orders::ReturnToCourier),
    /// Many orders from a file.
    Import(import::Import),
    /// One order.
    Get(orders::Get),
    /// Orders.
    List(orders::List),
    /// Returns.
    Returns(orders::Returns),
    /// The events of one order.
    History(orders::History),
    /// The events of all orders.
    Events(orders::Events),
    /// The packaging on offer.
    Packaging(orders::Packaging),
    /// What events add up to.
    Stats(orders::Stats),
    /// How publishing goes.
    Outbox(orders::Outbox),
    /// What the sink refused.
    Dlq(orders::Dlq),
    /// The service.
    Serve(serve::Serve),
    /// The consumer of events.
    Consume(consume::Consume),
    /// The schema of a store.
    Migrate(migrate::Migrate),
    /// The oracle over a store.
    Verify(verify::Verify),
    /// How fast a server is.
    Bench(bench::Bench),
    /// The configuration.
    Config(config::ConfigCommand),
    /// Shell completion.
    Completion(completion::Completion),
    /// The version.
    Version(completion::Version),
}

/// Nothing to run: help or the version was asked for, or the arguments are
/// wrong.
#[derive(Debug)]
pub enum Early {
    /// A text for standard output.
    Text(String),
    /// Wrong arguments.
    Usage(UsageError),
}

impl Early {
    /// Prints it and returns the exit code.
    #[must_use]
    pub fn print(self) -> u8 {
        match self {
            Self::Text(text) => client::exit_code(output::print_text(&text).map(|()| 0).map_err(Stop::from)),
            Self::Usage(error) => {
                anstream::eprintln!("{error}");
                2
            }
        }
    }
}

/// Reads the arguments, without the program's own name.
///
/// # Errors
/// When there is nothing to run.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, Early> {
    let info = Pvz::get_args_info();
    match args::prepare(&info, arguments).map_err(Early::Usage)? {
        Invocation::Help(path) => Err(Early::Text(help::render(&info, &path))),
        Invocation::Version => Err(Early::Text(completion::version_text())),
        Invocation::Run { path, arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            match Pvz::from_args(&["pvz"], &arguments) {
                Ok(pvz) => Ok(pvz.command),
                Err(exit) => Err(Early::Usage(UsageError::from_argh(path, &exit.output))),
            }
        }
    }
}

/// Does what was asked and returns the exit code.
pub fn run(command: Command) -> u8 {
    let threads = Builder::new_multi_thread;
    match command {
        Command::Accept(command) => ask(threads(), command.run()),
        Command::Issue(command) => ask(threads(), command.run()),
        Command::AcceptReturn(command) => ask(threads(), command.run()),
        Command::ReturnToCourier(command) => ask(threads(), command.run()),
        Command::Import(command) => ask(threads(), command.run()),
        Command::Get(command) => ask(threads(), command.run()),
        Command::List(command) => ask(threads(), command.run()),
        Command::Returns(command) => ask(threads(), command.run()),
        Command::History(command) => ask(threads(), command.run()),
        Command::Events(command) => ask(threads(), command.run()),
        Command::Packaging(command) => ask(threads(), command.run()),
        Command::Stats(command) => ask(threads(), command.run()),
        Command::Outbox(command) => ask(threads(), command.run()),
        Command::Dlq(command) => ask(threads(), command.run()),
        // A load of one thread takes an eighth less CPU time from the server that it
        // measures (benches/README.md).
        Command::Bench(command) => ask(Builder::new_current_thread(), command.run()),
        Command::Consume(command) => run_on(threads(), command.run()),
        Command::Serve(command) => command.run(),
        Command::Migrate(command) => run_on(threads(), command.run()),
        Command::Verify(command) => run_on(threads(), command.run()),
        Command::Config(command) => command.run(),
        Command::Completion(command) => client::exit_code(command.run(&Pvz::get_args_info())),
        Command::Version(command) => client::exit_code(command.run()),
    }
}

fn ask(threads: Builder, command: impl Future<Output = Outcome>) -> u8 {
    run_on(threads, async { client::exit_code(command.await) })
}

/// Runs a command to its exit code.
fn run_on(mut threads: Builder, command: impl Future<Output = u8>) -> u8 {
    let runtime = match threads.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("error: the asynchronous runtime does not start: {error}");
            return 1;
        }
    };
    let exit = runtime.block_on(command);
    // A thread that waits for standard input cannot be asked to stop.
    runtime.shutdown_background();
    exit
}
