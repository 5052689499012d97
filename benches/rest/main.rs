//! What REST costs: the CPU of an accept over the gateway against gRPC, and
//! against a handler written by hand, on the memory store.
//!
//!     cargo bench --bench rest
//!
//! Instructions are counted by valgrind's callgrind, so they are the same on a
//! busy machine: a server process is run under it with and without requests,
//! and the difference divided by their number. Then the same servers run bare,
//! under `wrk` with unique ids and under as many gRPC calls, and their own CPU
//! time is divided by the requests answered. Needs `valgrind` and `wrk`.

mod client;
mod server;

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

type Failure = Box<dyn std::error::Error>;

/// Requests whose instructions are counted.
const COUNTED: u64 = 2_000;
/// How long each server is under load, and with how many requests in flight.
const LOAD: Duration = Duration::from_secs(5);
const IN_FLIGHT: usize = 32;

/// What serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    /// The gRPC server of the product.
    Grpc,
    /// The REST gateway of the product.
    Gateway,
    /// A typed axum handler over the same service, written by hand.
    ByHand,
}

impl Face {
    const ALL: [Self; 3] = [Self::Grpc, Self::Gateway, Self::ByHand];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|face| face.to_string() == name)
    }
}

impl fmt::Display for Face {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Grpc => "grpc",
            Self::Gateway => "gateway",
            Self::ByHand => "by-hand",
        })
    }
}

/// A server process; it ends when its standard input does.
struct Server {
    child: Child,
    stdin: ChildStdin,
    address: String,
}

impl Server {
    fn start(mut command: Command, face: Face) -> Result<Self, Failure> {
        let mut child = command
            .args(["serve", &face.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut address)?;
        Ok(Self { child, stdin, address: address.trim().to_owned() })
    }

    /// The CPU time that the process has taken.
    fn cpu(&self) -> Result<Duration, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Behind the name in brackets: user and system time are the 12th and
        // 13th field, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Ends it, and answers what it said on standard error.
    fn stop(mut self) -> Result<String, Failure> {
        drop(self.stdin);
        let mut said = String::new();
        self.child.stderr.take().ok_or("no stderr")?.read_to_string(&mut said)?;
        self.child.wait()?;
        Ok(said)
    }
}

fn myself() -> Result<Command, Failure> {
    Ok(Command::new(std::env::current_exe()?))
}

/// Instructions that a server executes for so many requests, its start and end
/// included.
fn instructions(face: Face, requests: u64) -> Result<u64, Failure> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    let server = Server::start(command, face)?;
    client::accept(face, &server.address, requests)?;
    let said = server.stop()?;
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    Ok(collected.ok_or_else(|| format!("callgrind counted nothing:\n{said}"))?.trim().parse()?)
}

fn count() -> Result<(), Failure> {
    println!("instructions of the server for an accept, {COUNTED} accepts, one connection");
    let mut each = Vec::new();
    for face in Face::ALL {
        let (idle, busy) = (instructions(face, 0)?, instructions(face, COUNTED)?);
        each.push(busy.saturating_sub(idle) / COUNTED);
        println!("  {:<8} {:>9}", face.to_string(), each[each.len() - 1]);
    }
    println!("  gateway / grpc    {}   to reach: at most 1.60", ratio(each[1], each[0]));
    println!("  gateway / by-hand {}   to reach: at most 1.50", ratio(each[1], each[2]));
    Ok(())
}

fn load() -> Result<(), Failure> {
    println!("under load, {IN_FLIGHT} in flight, {} s each, unique ids", LOAD.as_secs());
    println!("  {:<8} {:>9} {:>14}", "", "accepts/s", "CPU us/accept");
    let mut each = Vec::new();
    for face in Face::ALL {
        let server = Server::start(myself()?, face)?;
        let before = server.cpu()?;
        let done = client::load(face, &server.address, LOAD, IN_FLIGHT)?;
        let cpu = server.cpu()?.saturating_sub(before);
        server.stop()?;
        let nanos = u64::try_from(cpu.as_nanos())? / done.max(1);
        each.push(nanos);
        println!(
            "  {:<8} {:>9} {:>11}.{}",
            face.to_string(),
            done / LOAD.as_secs(),
            nanos / 1_000,
            nanos / 100 % 10
        );
    }
    println!("  gateway / grpc    {}   to reach: at most 1.60", ratio(each[1], each[0]));
    Ok(())
}

/// A quotient with two decimals.
fn ratio(above: u64, below: u64) -> String {
    let hundredths = above * 100 / below.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, face] = arguments.as_slice()
        && command == "serve"
    {
        return server::serve(Face::parse(face).ok_or("no such face")?);
    }
    count()?;
    load()
}
