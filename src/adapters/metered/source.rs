use std::sync::Arc;

use async_trait::async_trait;
use metrics::{counter, gauge};

use super::names;
use crate::ports::{EventSource, Fetched, Offset, PortError, RecordContent, Start, UndecodedRecord};

/// An [`EventSource`] that exports the lag of its reader.
pub struct MeteredSource(Arc<dyn EventSource>);

impl MeteredSource {
    /// Wraps a source.
    pub fn new(source: Arc<dyn EventSource>) -> Self {
        Self(source)
    }
}

#[async_trait]
impl EventSource for MeteredSource {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    async fn partitions(&self) -> Result<Vec<u32>, PortError> {
        self.0.partitions().await
    }

    async fn begin(&self, partition: u32, start: Start) -> Result<Offset, PortError> {
        self.0.begin(partition, start).await
    }

    async fn fetch(&self, partition: u32, from: Offset, limit: usize) -> Result<Fetched, PortError> {
        let fetched = self.0.fetch(partition, from, limit).await?;
        let lag = u32::try_from(fetched.end.0.saturating_sub(fetched.next.0)).unwrap_or(u32::MAX);
        gauge!(names::CONSUMER_LAG, "partition" => partition.to_string()).set(lag);
        Ok(fetched)
    }

    fn decode(&self, record: UndecodedRecord) -> RecordContent {
        self.0.decode(record)
    }

    async fn write_dead_letters(&self, partition: u32, records: &[UndecodedRecord]) -> Result<(), PortError> {
        self.0.write_dead_letters(partition, records).await?;
        counter!(names::RECORDS_SET_ASIDE).increment(records.len() as u64);
        Ok(())
    }
}
