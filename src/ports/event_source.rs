use std::collections::BTreeMap;

use async_trait::async_trait;

use super::PortError;
use crate::domain::{Event, Timestamp};

/// A place in a partition of a source. They ascend within the partition; they
/// may have gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

/// Where to begin in a partition that was never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record there is.
    Earliest,
    /// With the next one to be written.
    Latest,
    /// With the first that was written at or after that instant.
    At(Timestamp),
}

/// Where events are read that a relay has published: a log of partitions, each
/// in order, all events of an order in one of them.
#[async_trait]
pub trait EventSource: Send + Sync {
    /// The name under which an inbox keeps how far it read: another place for
    /// events has another name, and is read from its beginning.
    fn name(&self) -> &str;

    /// What it is and where, for people.
    fn describe(&self) -> String;

    /// The partitions there are. More may come, none ever goes.
    async fn partitions(&self) -> Result<Vec<u32>, PortError>;

    /// The offset to begin at.
    async fn begin(&self, partition: u32, start: Start) -> Result<Offset, PortError>;

    /// Up to `limit` records from that offset on. None when the end is reached;
    /// then the call may wait a moment for more. An offset that is no longer
    /// kept goes on at the oldest that is: `Fetched::first` tells.
    ///
    /// The call is bounded in time by the adapter. Dropping it is safe.
    async fn fetch(&self, partition: u32, from: Offset, limit: usize) -> Result<Fetched, PortError>;

    /// Puts records that are no events aside, where an operator finds them with
    /// their cause. Durable when it is answered. The same one may be put aside
    /// twice.
    async fn set_aside(&self, partition: u32, records: &[Undecodable]) -> Result<(), PortError>;
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where the records begin: what was asked for, or later if that is gone.
    pub first: Offset,
    /// The records, in order.
    pub records: Vec<SourceRecord>,
    /// Where to go on after them.
    pub next: Offset,
    /// Where the next record will be written: the end, as of now.
    pub end: Offset,
}

/// A record of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRecord {
    /// Where it stands.
    pub offset: Offset,
    /// What it says.
    pub content: Content,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An event.
    Event(Box<Event>),
    /// An event of a type or version that this release does not know: kept as
    /// it is, for one that does.
    Unknown(Undecodable),
    /// No event at all.
    Undecodable(Undecodable),
}

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Where it stands.
    pub offset: Offset,
    /// Why it cannot be read, a sentence.
    pub cause: String,
    /// Its key, as it is.
    pub key: Option<Vec<u8>>,
    /// Its value, as it is.
    pub value: Option<Vec<u8>>,
    /// Its headers, as they are.
    pub headers: BTreeMap<String, Vec<u8>>,
}
