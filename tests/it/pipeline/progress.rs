//! Readiness of a consumer whose partition makes no progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pvz::adapters::memory::MemoryStore;
use pvz::adapters::null::NullSink;
use pvz::app::{IngestEvents, IngestOptions, NotReady, Readiness};
use pvz::ports::{EventSource, Fetched, Offset, PortError, RecordContent, Start, UndecodedRecord};
use tokio_util::sync::CancellationToken;

/// A source with two partitions and no records. A test can make partition 1 fail.
#[derive(Default)]
struct TestSource {
    fails: AtomicBool,
}

#[async_trait]
impl EventSource for TestSource {
    fn name(&self) -> &'static str {
        "test"
    }

    fn describe(&self) -> String {
        "test".to_owned()
    }

    async fn partitions(&self) -> Result<Vec<u32>, PortError> {
        Ok(vec![0, 1])
    }

    async fn begin(&self, _: u32, _: Start) -> Result<Offset, PortError> {
        Ok(Offset(0))
    }

    async fn fetch(&self, partition: u32, from: Offset, _: usize) -> Result<Fetched, PortError> {
        if partition == 1 && self.fails.load(Ordering::SeqCst) {
            return Err(PortError::unavailable("the broker is gone", "refused"));
        }
        Ok(Fetched { first: from, records: Vec::new(), next: from, end: from })
    }

    fn decode(&self, record: UndecodedRecord) -> RecordContent {
        RecordContent::Unknown(record)
    }

    async fn write_dead_letters(&self, _: u32, _: &[UndecodedRecord]) -> Result<(), PortError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn consumer_is_not_ready_while_a_partition_makes_no_progress() {
    let (source, store) = (Arc::new(TestSource::default()), Arc::new(MemoryStore::new([7; 32])));
    let options = IngestOptions::new("only".to_owned());
    let ingest =
        IngestEvents::new(Arc::<TestSource>::clone(&source), Arc::<MemoryStore>::clone(&store), options);
    let readiness = Readiness::new(store, Arc::new(NullSink)).with_consumer(ingest.progress());
    let (mut ready, stop) = (readiness.subscribe(), CancellationToken::new());
    let running = tokio::spawn(ingest.run(stop.clone()));
    let checking = tokio::spawn(readiness.run(stop.clone()));
    ready.wait_for(Result::is_ok).await.unwrap();
    // Waiting at the end of a partition is progress. The clock is paused, so this takes no time.
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(*ready.borrow(), Ok(()));
    source.fails.store(true, Ordering::SeqCst);
    let NotReady { check, cause } = ready.wait_for(Result::is_err).await.unwrap().clone().unwrap_err();
    assert_eq!(check, "consumer");
    assert!(cause.starts_with("partition 1 has made no progress for 3"), "{cause}");
    assert!(cause.ends_with("the broker is gone: refused"), "{cause}");
    source.fails.store(false, Ordering::SeqCst);
    ready.wait_for(Result::is_ok).await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
    checking.await.unwrap();
}
