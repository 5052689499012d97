//! A page of statistics as a message.

use crate::adapters::proto_mapping;
use crate::app::{CountedEvents, StatisticsFound};
use crate::proto::v1;

/// Returns the message for a page.
pub fn message(found: StatisticsFound) -> v1::GetStatisticsResponse {
    let StatisticsFound { days, next_page_token, conflicts, counted } = found;
    let mut response = v1::GetStatisticsResponse {
        days: days.iter().map(proto_mapping::day_statistics).collect(),
        next_page_token,
        conflicts: i64::try_from(conflicts).unwrap_or(i64::MAX),
        ..v1::GetStatisticsResponse::default()
    };
    if let Some(CountedEvents { as_of, position, lag_events, lag_seconds, consumers }) = counted {
        response.as_of = Some(proto_mapping::timestamp(as_of));
        response.counted_cursor = Some(position.0.to_string());
        response.lag_events = Some(lag_events);
        response.lag_seconds = Some(lag_seconds);
        response.consumers = Some(i32::try_from(consumers).unwrap_or(i32::MAX));
    }
    response
}
