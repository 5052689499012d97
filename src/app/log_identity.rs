//! Checks that a source is still the log in which a position was saved. A topic that was deleted
//! and created again, or a journal that was replaced, has the same name but other events at the
//! same offsets.

use std::fmt;

use crate::domain::EventId;
use crate::ports::{EventSource, LastEvent, PortError, RecordContent, SourceRecord};

/// The result of the check.
pub(super) enum LogIdentity {
    /// The last event is at its offset, or no comparison is possible.
    Same,
    /// There is no record at the offset of the last event. Right after a change of leader, the end
    /// of a partition can briefly be before that offset.
    Missing(OtherLog),
    /// Another record is at the offset of the last event.
    Other(OtherLog),
}

/// A source that is not the log in which the positions were saved.
#[derive(Debug, thiserror::Error)]
#[error(
    "{log} is not the log that was consumed before: it was created again or replaced, or lost records. \
     At offset {offset} of partition {partition}, event {expected} was read, and now there is {found}. \
     To consume this log from its beginning, start the consumer once with --rewind; \
     events that were counted are not counted again",
    offset = expected.offset.0,
    expected = expected.event_id
)]
pub struct OtherLog {
    log: String,
    partition: u32,
    expected: LastEvent,
    found: Found,
}

/// The content found at the offset of the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Event(EventId),
    OtherRecord,
    Nothing,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event_id) => write!(formatter, "event {event_id}"),
            Self::OtherRecord => formatter.write_str("a record that is not an event"),
            Self::Nothing => formatter.write_str("no record"),
        }
    }
}

/// Compares the last event with the record that the source has at its offset.
///
/// # Errors
/// Returns an error if the source cannot be read.
pub(super) async fn check_log(
    source: &dyn EventSource,
    partition: u32,
    expected: LastEvent,
) -> Result<LogIdentity, PortError> {
    let fetched = source.fetch(partition, expected.offset, 1).await?;
    let other = |found| OtherLog { log: source.describe(), partition, expected, found };
    // The last event is no longer retained.
    if fetched.first > expected.offset {
        return Ok(LogIdentity::Same);
    }
    let in_place = |record: &&SourceRecord| record.offset == expected.offset;
    Ok(match fetched.records.first().filter(in_place).map(|record| &record.content) {
        Some(RecordContent::Event(event)) if event.event_id == expected.event_id => LogIdentity::Same,
        Some(RecordContent::Event(event)) => LogIdentity::Other(other(Found::Event(event.event_id))),
        // A later release read this event; this release cannot.
        Some(RecordContent::Unknown(_)) => LogIdentity::Same,
        Some(RecordContent::Undecodable(_) | RecordContent::Unreadable(_)) => {
            LogIdentity::Other(other(Found::OtherRecord))
        }
        None => LogIdentity::Missing(other(Found::Nothing)),
    })
}
