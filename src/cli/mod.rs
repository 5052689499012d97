//! The command line: the list of commands, and a file or folder for each.
//!
//! - `args` and `help` adapt argh: `--opt=value`, exit code 2, suggestions for
//!   misspelt names, grouped help texts.
//! - `client` is the gRPC client: connection, metadata, retries.
//! - `failure` is a failed command: message, reason, exit code. `errors` prints it.
//! - `output` prints responses as tables or JSON; `stderr` prints messages.
//! - `orders` and `import` are the commands that call a server.
//! - `completion` and `man` derive completion and manual pages from the same
//!   descriptions as `help`.
//! - `bench` reads the options of the load generator.

mod args;
mod bench;
mod client;
mod completion;
pub mod config;
mod consume;
mod errors;
mod escape;
mod failure;
mod help;
mod import;
mod man;
mod migrate;
mod orders;
mod output;
mod serve;
mod stderr;
mod verify;

use std::ffi::OsString;

use argh::{ArgsInfo, FromArgs};
use tokio::runtime::Builder;

use args::{Invocation, UsageError};
use errors::ErrorStyle;
use failure::{Outcome, Stop};

/// Order management for marketplace pickup points: a server, and commands that
/// call it.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    error_code(0, "done"),
    error_code(1, "a bug, or the service could not start"),
    error_code(2, "the request is wrong"),
    error_code(3, "no such order"),
    error_code(4, "the order is not in the required state, or part of a batch was refused"),
    error_code(5, "not allowed"),
    error_code(6, "try again: unreachable, overloaded, or deadline exceeded"),
    error_code(7, "verify found differences")
)]
struct Pvz {
    #[argh(subcommand)]
    command: Command,
}

/// A command.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum Command {
    /// Accepts an order from a courier.
    Accept(orders::Accept),
    /// Issues orders to their customer.
    Issue(orders::Issue),
    /// Takes back an order from its customer.
    AcceptReturn(orders::AcceptReturn),
    /// Hands orders to a courier.
    ReturnToCourier(orders::ReturnToCourier),
    /// Accepts the orders of a file.
    Import(import::Import),
    /// Shows one order.
    Get(orders::Get),
    /// Lists orders.
    List(orders::List),
    /// Lists returns.
    Returns(orders::Returns),
    /// Shows the events of one order.
    History(orders::History),
    /// Shows the events of all orders.
    Events(orders::Events),
    /// Shows the available packaging.
    Packaging(orders::Packaging),
    /// Shows daily statistics.
    Stats(orders::Stats),
    /// Shows the progress of the relay.
    Outbox(orders::Outbox),
    /// Lists and resolves dead letters.
    Dlq(orders::Dlq),
    /// Runs the server.
    Serve(serve::Serve),
    /// Runs a consumer of events.
    Consume(consume::Consume),
    /// Updates the schema of a store.
    Migrate(migrate::Migrate),
    /// Checks the orders of a store against their events.
    Verify(verify::Verify),
    /// Measures a server.
    Bench(bench::Bench),
    /// Shows or checks the configuration.
    Config(config::ConfigCommand),
    /// Prints a completion script.
    Completion(completion::Completion),
    /// Prints a manual page.
    Man(man::Man),
    /// Prints the version.
    Version(completion::Version),
}

/// A command to run, and the way in which it reports failures.
#[derive(Debug)]
pub struct Invoked {
    command: Command,
    style: ErrorStyle,
}

/// The reason why there is no command to run.
#[derive(Debug)]
pub enum Early {
    /// Help or the version was requested; the text for standard output.
    Text(String),
    /// The arguments are wrong.
    Usage(UsageError, ErrorStyle),
}

impl Early {
    /// Prints the text or error and returns the exit code.
    #[must_use]
    pub fn print(self) -> u8 {
        match self {
            Self::Text(text) => {
                ErrorStyle::default().exit_code(output::print_text(&text).map(|()| 0).map_err(Stop::from))
            }
            Self::Usage(error, style) => style.usage(&error),
        }
    }
}

/// The first argument of the call with which a completion script asks for candidates.
const COMPLETE: &str = "__complete";

/// Parses the arguments, given without the name of the program.
///
/// # Errors
/// There is no command to run.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Invoked, Early> {
    let info = Pvz::get_args_info();
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == COMPLETE).is_some() {
        let words: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
        return Err(Early::Text(completion::complete(&info, &words)));
    }
    let arguments: Vec<OsString> = arguments.collect();
    let style = |path: &[String]| ErrorStyle::of_arguments(&arguments).of_command(&info, path);
    let usage = |error: UsageError| {
        let style = style(error.path());
        Early::Usage(error, style)
    };
    match args::prepare(&info, arguments.iter().cloned()).map_err(usage)? {
        Invocation::Help(path) => Err(Early::Text(help::render(&info, &path))),
        Invocation::Version => Err(Early::Text(completion::version_text())),
        Invocation::Run { path, arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            match Pvz::from_args(&["pvz"], &arguments) {
                Ok(pvz) => Ok(Invoked { command: pvz.command, style: style(&path) }),
                Err(exit) => Err(match UsageError::from_argh(path.clone(), &exit.output) {
                    Some(error) => usage(error),
                    None => Early::Text(help::render(&info, &path)),
                }),
            }
        }
    }
}

impl Command {
    /// Returns true if the command creates files of its own.
    fn has_data(&self) -> bool {
        matches!(
            self,
            Self::Serve(_) | Self::Consume(_) | Self::Migrate(_) | Self::Verify(_) | Self::Bench(_)
        )
    }
}

/// Lets only the user of this process access the files that it creates, as PostgreSQL does.
fn keep_files_private() {
    use rustix::fs::Mode;
    _ = rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Runs the command and returns the exit code.
pub fn run(Invoked { command, style }: Invoked) -> u8 {
    if command.has_data() {
        keep_files_private();
    }
    let threads = Builder::new_multi_thread;
    let style = &style;
    match command {
        Command::Accept(command) => ask(threads(), command.run(), style),
        Command::Issue(command) => ask(threads(), command.run(), style),
        Command::AcceptReturn(command) => ask(threads(), command.run(), style),
        Command::ReturnToCourier(command) => ask(threads(), command.run(), style),
        Command::Import(command) => ask(threads(), command.run(), style),
        Command::Get(command) => ask(threads(), command.run(), style),
        Command::List(command) => ask(threads(), command.run(), style),
        Command::Returns(command) => ask(threads(), command.run(), style),
        Command::History(command) => ask(threads(), command.run(), style),
        Command::Events(command) => ask(threads(), command.run(), style),
        Command::Packaging(command) => ask(threads(), command.run(), style),
        Command::Stats(command) => ask(threads(), command.run(), style),
        Command::Outbox(command) => ask(threads(), command.run(), style),
        Command::Dlq(command) => ask(threads(), command.run(), style),
        // On one thread the load takes less CPU time from the server under
        // measurement (benches/README.md).
        Command::Bench(command) => ask(Builder::new_current_thread(), command.run(), style),
        Command::Consume(command) => run_on(threads(), command.run()),
        Command::Serve(command) => command.run(),
        Command::Migrate(command) => run_on(threads(), command.run()),
        Command::Verify(command) => run_on(threads(), command.run()),
        Command::Config(command) => command.run(),
        Command::Completion(command) => style.exit_code(command.run()),
        Command::Man(command) => style.exit_code(command.run(&Pvz::get_args_info())),
        Command::Version(command) => style.exit_code(command.run()),
    }
}

fn ask(threads: Builder, command: impl Future<Output = Outcome>, style: &ErrorStyle) -> u8 {
    run_on(threads, async { style.exit_code(command.await) })
}

/// Runs a command to its exit code.
fn run_on(mut threads: Builder, command: impl Future<Output = u8>) -> u8 {
    let runtime = match threads.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            stderr::line(format_args!("error: cannot start the asynchronous runtime: {error}"));
            return 1;
        }
    };
    let exit = runtime.block_on(command);
    // Do not wait for a thread that is blocked on standard input.
    runtime.shutdown_background();
    exit
}
