//! The state of the outbox as a message.

use crate::adapters::proto_mapping;
use crate::app::OutboxReport;
use crate::ports::Position;
use crate::proto::v1;

/// Returns the message for a report.
pub fn message(report: OutboxReport) -> v1::Outbox {
    let OutboxReport { sink, head, lag_events, lag_seconds, status } = report;
    let cursor = status.as_ref().map_or(Position(0), |status| status.cursor);
    let mut outbox = v1::Outbox {
        sink,
        head_cursor: head.0.to_string(),
        published_cursor: cursor.0.to_string(),
        lag_events,
        lag_seconds,
        ..v1::Outbox::default()
    };
    if let Some(status) = status {
        outbox.led = status.has_leader;
        outbox.dead_letters = i64::try_from(status.dead_letters).unwrap_or(i64::MAX);
        if let Some(leader) = status.leader {
            outbox.leader = Some(leader.name);
            outbox.stopped = leader.stopped;
            outbox.led_since = Some(proto_mapping::timestamp(leader.since));
            if let Some((error, at)) = leader.failure {
                outbox.last_error = Some(error);
                outbox.last_error_at = Some(proto_mapping::timestamp(at));
            }
        }
    }
    outbox
}
