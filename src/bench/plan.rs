//! The plan of a run.

use std::time::Duration;

use tonic::metadata::MetadataMap;

use crate::config::Sources;

/// The kinds of calls that a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// `AcceptOrder`, one order a call.
    Accept,
    /// `IssueOrders`, a batch a call.
    Issue,
    /// `GetOrder`.
    Get,
    /// `ListOrders` of one customer.
    List,
    /// `ListReturns`.
    Returns,
    /// `ImportOrders`, a stream a connection.
    Import,
    /// A mix of the unary calls.
    MixedDay,
}

impl Scenario {
    /// Every scenario with its name.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("accept", Self::Accept),
        ("issue", Self::Issue),
        ("get", Self::Get),
        ("list", Self::List),
        ("returns", Self::Returns),
        ("import", Self::Import),
        ("mixed-day", Self::MixedDay),
    ];

    /// Returns the scenario with that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, scenario)| *scenario)
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, scenario)| *scenario == self).map_or("", |(name, _)| name)
    }

    /// Returns true if orders must exist before it begins.
    pub(super) fn needs_orders(self) -> bool {
        !matches!(self, Self::Accept | Self::Import)
    }
}

/// The pace of calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// A fixed number of calls in flight: a call begins when another ends.
    InFlight(usize),
    /// Calls per second, whatever the server does.
    Rate(f64),
}

/// A server and the options of calls to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`.
    pub server: String,
    /// Metadata of every call.
    pub metadata: MetadataMap,
    /// Timeout of a call.
    pub timeout: Duration,
}

/// The server of a run.
#[derive(Debug, Clone)]
pub enum ServerPlan {
    /// The one at the target's address.
    Running,
    /// One that the run starts, on the store with that URL; `None` for a store
    /// in a temporary folder. The target's address is ignored.
    Embedded(Option<String>),
}

/// A measurement of a scenario.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The calls to make.
    pub scenario: Scenario,
    /// Pace of the calls.
    pub pace: Pace,
    /// Time before the measurement, under the same load.
    pub warm_up: Duration,
    /// Time of the measurement.
    pub duration: Duration,
    /// Orders to import first, for scenarios that need existing orders.
    pub orders: u64,
    /// Orders in a batch.
    pub batch: u64,
    /// Connections that share the calls.
    pub connections: usize,
    /// Address, metadata and timeout of the calls.
    pub target: Target,
    /// The server.
    pub server: ServerPlan,
    /// The `PostgreSQL` store on which to measure the baseline too.
    pub baseline: Option<String>,
    /// Write to a store that has orders already.
    pub force: bool,
    /// Configuration sources, to which the run adds flags.
    pub sources: Sources,
}

/// A measurement of the path of events: store, relay, sink, consumer.
#[derive(Debug, Clone)]
pub struct RelayPlan {
    /// Accepts per second while arrival is measured; `None` to leave that out.
    pub rate: Option<f64>,
    /// Time before the measurement of arrival, under the same load.
    pub warm_up: Duration,
    /// Time of the measurement of arrival.
    pub duration: Duration,
    /// Orders to import first, whose events are drained.
    pub orders: u64,
    /// Orders of one customer in a row.
    pub batch: u64,
    /// Connections that share the accepts.
    pub connections: usize,
    /// Metadata and timeout of the calls. The address is ignored.
    pub target: Target,
    /// URL of the server's store; `None` for a temporary file.
    pub store: Option<String>,
    /// URL of the sink; `None` for a temporary journal.
    pub events: Option<String>,
    /// URL of the consumer's store; `None` for a temporary file.
    pub inbox: Option<String>,
    /// Write to a store that has orders already.
    pub force: bool,
    /// Configuration sources, to which the run adds flags.
    pub sources: Sources,
}
