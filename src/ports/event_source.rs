use std::collections::BTreeMap;

use async_trait::async_trait;

use super::PortError;
use crate::domain::{Event, Timestamp};

/// A position in a partition of a source. Offsets ascend within a partition and
/// may have gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

/// The position at which to begin a partition that was never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest record.
    Earliest,
    /// The next record to be written.
    Latest,
    /// The first record written at or after an instant.
    At(Timestamp),
}

/// A source of published events: a log of partitions. Records of a partition
/// are ordered, and all events of an order are in one partition.
#[async_trait]
pub trait EventSource: Send + Sync {
    /// Returns the name under which an inbox stores positions. A different log has a different name
    /// and is read from its beginning. A log that replaces another one has the same name; the
    /// consumer detects it by the last event.
    fn name(&self) -> &str;

    /// Returns the technology and location, for people.
    fn describe(&self) -> String;

    /// Returns the partitions. New ones may appear; none is ever removed.
    async fn partitions(&self) -> Result<Vec<u32>, PortError>;

    /// Resolves a start position to an offset.
    async fn begin(&self, partition: u32, start: Start) -> Result<Offset, PortError>;

    /// Fetches up to `limit` records from an offset on. At the end of the partition it returns
    /// none, and may first wait briefly for new ones. If the offset is no longer retained or is
    /// beyond the end, it continues at the oldest retained offset, which [`Fetched::first`] shows.
    ///
    /// The adapter bounds the call in time. Dropping it is safe.
    async fn fetch(&self, partition: u32, from: Offset, limit: usize) -> Result<Fetched, PortError>;

    /// Decodes a record of this source again: this release may be able to read
    /// what an earlier one kept as unknown.
    fn decode(&self, record: UndecodedRecord) -> RecordContent;

    /// Writes records to the dead letters of the source, with their causes, for
    /// an operator. Durable when it returns. The same record may be written
    /// twice.
    async fn write_dead_letters(&self, partition: u32, records: &[UndecodedRecord]) -> Result<(), PortError>;
}

/// The result of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The offset at which the fetch began: the requested one, a later one if the requested one is
    /// no longer retained, or an earlier one if it is beyond the end.
    pub first: Offset,
    /// The records, in order.
    pub records: Vec<SourceRecord>,
    /// The offset to continue at.
    pub next: Offset,
    /// The end of the partition: the offset of the next record to be written.
    pub end: Offset,
}

/// A record of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRecord {
    /// The offset.
    pub offset: Offset,
    /// The content.
    pub content: RecordContent,
}

/// The content of a record, as far as this release can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordContent {
    /// An event.
    Event(Box<Event>),
    /// An event that only a later release can read.
    Unknown(UndecodedRecord),
    /// Not an event.
    Undecodable(UndecodedRecord),
    /// An offset whose content the client of the source cannot decode, such as the commit marker
    /// of a transaction. The text is the cause. Nothing of it can be kept.
    Unreadable(String),
}

/// A record that was not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndecodedRecord {
    /// The offset.
    pub offset: Offset,
    /// The reason it was not decoded, a sentence.
    pub cause: String,
    /// The original key.
    pub key: Option<Vec<u8>>,
    /// The original value.
    pub value: Option<Vec<u8>>,
    /// The original headers.
    pub headers: BTreeMap<String, Vec<u8>>,
}
