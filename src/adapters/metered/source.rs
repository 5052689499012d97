use std::sync::Arc;

use async_trait::async_trait;
use metrics::{Counter, counter, gauge};

use super::names;
use crate::ports::{EventSource, Fetched, Offset, PortError, RecordContent, Start, UndecodedRecord};

/// An [`EventSource`] that exports the lag of its reader and the offsets it stepped over.
pub struct MeteredSource {
    source: Arc<dyn EventSource>,
    unreadable: Counter,
}

impl MeteredSource {
    /// Wraps a source.
    pub fn new(source: Arc<dyn EventSource>) -> Self {
        Self { source, unreadable: counter!(names::OFFSETS_UNREADABLE) }
    }
}

#[async_trait]
impl EventSource for MeteredSource {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn describe(&self) -> String {
        self.source.describe()
    }

    async fn partitions(&self) -> Result<Vec<u32>, PortError> {
        self.source.partitions().await
    }

    async fn begin(&self, partition: u32, start: Start) -> Result<Offset, PortError> {
        self.source.begin(partition, start).await
    }

    async fn fetch(&self, partition: u32, from: Offset, limit: usize) -> Result<Fetched, PortError> {
        let fetched = self.source.fetch(partition, from, limit).await?;
        let lag = u32::try_from(fetched.end.0.saturating_sub(fetched.next.0)).unwrap_or(u32::MAX);
        gauge!(names::CONSUMER_LAG, "partition" => partition.to_string()).set(lag);
        let unreadable =
            fetched.records.iter().filter(|record| matches!(record.content, RecordContent::Unreadable(_)));
        self.unreadable.increment(unreadable.count() as u64);
        Ok(fetched)
    }

    fn decode(&self, record: UndecodedRecord) -> RecordContent {
        self.source.decode(record)
    }

    async fn write_dead_letters(&self, partition: u32, records: &[UndecodedRecord]) -> Result<(), PortError> {
        self.source.write_dead_letters(partition, records).await?;
        counter!(names::RECORDS_SET_ASIDE).increment(records.len() as u64);
        Ok(())
    }
}
