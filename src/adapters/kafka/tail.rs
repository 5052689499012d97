//! The end of a topic: the last event of each partition.

use std::time::Duration;

use futures::future::try_join_all;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{OffsetAt, PartitionClient};
use rskafka::record::RecordAndOffset;

use super::connection::{TopicClientError, with_timeout};
use super::decode::source_record;
use super::source::{ONE_BATCH, is_undecodable};
use super::topic_client::{TopicClient, offset};
use crate::ports::{PublishedEvent, RecordContent};

/// The number of offsets at the end of a partition that are searched for the last event.
const SEARCHED: i64 = 100;
/// The attempts to read an offset.
const ATTEMPTS: usize = 3;
/// The longest wait of the broker for a record, in milliseconds.
const WAIT_MS: i32 = 100;

/// Returns the last event of each partition that has one.
pub(super) async fn last_events(
    client: &TopicClient,
    limit: Duration,
) -> Result<Vec<PublishedEvent>, TopicClientError> {
    let found = try_join_all(client.partitions.iter().map(|partition| last_event(partition, limit)));
    Ok(found.await?.into_iter().flatten().collect())
}

/// Searches backwards, one offset at a time: the last records may be commit markers,
/// or not events.
async fn last_event(
    partition: &PartitionClient,
    limit: Duration,
) -> Result<Option<PublishedEvent>, TopicClientError> {
    let oldest = offset(partition, OffsetAt::Earliest, limit).await?;
    let end = offset(partition, OffsetAt::Latest, limit).await?;
    for at in (oldest.max(end - SEARCHED)..end).rev() {
        for found in records_at(partition, at, limit).await?.into_iter().rev() {
            if let RecordContent::Event(event) = source_record(found.offset, found.record).content {
                return Ok(Some(PublishedEvent::from(&*event)));
            }
        }
    }
    Ok(None)
}

/// Returns the records of the batch at an offset; none if the client cannot decode them, or if the
/// broker returns none after some attempts, because a transaction there is open.
async fn records_at(
    partition: &PartitionClient,
    at: i64,
    limit: Duration,
) -> Result<Vec<RecordAndOffset>, TopicClientError> {
    for _ in 0..ATTEMPTS {
        match with_timeout(limit, partition.fetch_records(at, 1..ONE_BATCH, WAIT_MS)).await {
            // A busy broker returns nothing for an offset that it has.
            Ok((records, _)) if records.is_empty() => {}
            Ok((records, _)) => return Ok(records),
            Err(error) if is_undecodable(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Vec::new())
}

/// Returns true if the brokers forbid to read the topic.
pub(super) fn is_forbidden(error: &TopicClientError) -> bool {
    let TopicClientError::Client(Error::ServerError { protocol_error, .. }) = error else { return false };
    matches!(protocol_error, ProtocolError::TopicAuthorizationFailed)
}
