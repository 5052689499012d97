//! Benchmark of REST: the CPU cost of an accept through the gateway, compared with
//! gRPC and with a handler written by hand, on the memory store.
//!
//!     cargo bench --bench rest
//!
//! The first part counts instructions with valgrind's callgrind, so other load
//! on the machine does not matter: a server process runs with and without
//! requests, and the difference is divided by the number of requests. In the
//! second part the same servers run without valgrind, under `wrk` with unique
//! ids or under the same number of gRPC calls in flight, and their CPU time is
//! divided by the number of responses. Needs `valgrind` and `wrk`.

mod client;
mod server;

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

type BoxError = Box<dyn std::error::Error>;

/// Requests of the first part.
const COUNTED_REQUESTS: u64 = 2_000;
/// Duration of the load on each server in the second part.
const LOAD_DURATION: Duration = Duration::from_secs(5);
/// Requests in flight in the second part.
const IN_FLIGHT: usize = 32;

/// A server under measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerKind {
    /// The gRPC server of the product.
    Grpc,
    /// The REST gateway of the product.
    Gateway,
    /// A typed axum handler over the same service, written by hand.
    ByHand,
}

impl ServerKind {
    const ALL: [Self; 3] = [Self::Grpc, Self::Gateway, Self::ByHand];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_string() == name)
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Grpc => "grpc",
            Self::Gateway => "gateway",
            Self::ByHand => "by-hand",
        })
    }
}

/// A server process. It exits when its standard input is closed.
struct Server {
    child: Child,
    stdin: ChildStdin,
    address: String,
}

impl Server {
    fn start(mut command: Command, kind: ServerKind) -> Result<Self, BoxError> {
        let mut child = command
            .args(["serve", &kind.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut address)?;
        Ok(Self { child, stdin, address: address.trim().to_owned() })
    }

    /// Returns the CPU time of the process.
    fn cpu(&self) -> Result<Duration, BoxError> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // User and system time are the 12th and 13th field after the program's
        // name, which ends with a parenthesis; in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Stops the process and returns its standard error.
    fn stop(mut self) -> Result<String, BoxError> {
        drop(self.stdin);
        let mut stderr = String::new();
        self.child.stderr.take().ok_or("no stderr")?.read_to_string(&mut stderr)?;
        self.child.wait()?;
        Ok(stderr)
    }
}

fn this_program() -> Result<Command, BoxError> {
    Ok(Command::new(std::env::current_exe()?))
}

/// Returns the number of instructions that a server executes for `requests`
/// requests, including start and shutdown.
fn instructions(kind: ServerKind, requests: u64) -> Result<u64, BoxError> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    let server = Server::start(command, kind)?;
    client::accept(kind, &server.address, requests)?;
    let stderr = server.stop()?;
    let collected = stderr.lines().find_map(|line| line.split("Collected :").nth(1));
    Ok(collected.ok_or_else(|| format!("callgrind counted nothing:\n{stderr}"))?.trim().parse()?)
}

fn count() -> Result<(), BoxError> {
    println!("server instructions per accept, {COUNTED_REQUESTS} accepts, one connection");
    let mut each = Vec::new();
    for kind in ServerKind::ALL {
        let (idle, busy) = (instructions(kind, 0)?, instructions(kind, COUNTED_REQUESTS)?);
        each.push(busy.saturating_sub(idle) / COUNTED_REQUESTS);
        println!("  {:<8} {:>9}", kind.to_string(), each[each.len() - 1]);
    }
    println!("  gateway / grpc    {}   target: at most 1.60", ratio(each[1], each[0]));
    println!("  gateway / by-hand {}   target: at most 1.50", ratio(each[1], each[2]));
    Ok(())
}

fn load() -> Result<(), BoxError> {
    println!("under load, {IN_FLIGHT} in flight, {} s each, unique ids", LOAD_DURATION.as_secs());
    println!("  {:<8} {:>9} {:>14}", "", "accepts/s", "CPU us/accept");
    let mut each = Vec::new();
    for kind in ServerKind::ALL {
        let server = Server::start(this_program()?, kind)?;
        let before = server.cpu()?;
        let done = client::load(kind, &server.address, LOAD_DURATION, IN_FLIGHT)?;
        let cpu = server.cpu()?.saturating_sub(before);
        server.stop()?;
        let nanos = u64::try_from(cpu.as_nanos())? / done.max(1);
        each.push(nanos);
        println!(
            "  {:<8} {:>9} {:>11}.{}",
            kind.to_string(),
            done / LOAD_DURATION.as_secs(),
            nanos / 1_000,
            nanos / 100 % 10
        );
    }
    println!("  gateway / grpc    {}   target: at most 1.60", ratio(each[1], each[0]));
    Ok(())
}

/// Returns a quotient with two decimals.
fn ratio(dividend: u64, divisor: u64) -> String {
    let hundredths = dividend * 100 / divisor.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, kind] = arguments.as_slice()
        && command == "serve"
    {
        return server::serve(ServerKind::parse(kind).ok_or("unknown server")?);
    }
    count()?;
    load()
}
