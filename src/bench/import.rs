//! The `import` scenario: one stream on each connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::import_stream::{RowsInFlight, import_rows};
use super::measured::Measured;
use super::work::Work;

/// An import to measure.
#[derive(Debug)]
pub(super) struct ImportLoad {
    pub work: Arc<Work>,
    pub connections: Vec<Connection>,
    /// Rows without a result, in each stream.
    pub window: usize,
    pub warm_up: Duration,
    pub duration: Duration,
    /// Ends the run early.
    pub stop: CancellationToken,
}

impl ImportLoad {
    /// Imports until the time is over or the run is stopped.
    pub(super) async fn run(self) -> Measured {
        let began = Instant::now();
        let measure_from = began + self.warm_up;
        let end = measure_from + self.duration;
        let mut streams = JoinSet::new();
        for connection in self.connections {
            let (work, stop) = (Arc::clone(&self.work), self.stop.clone());
            streams.spawn(run_stream(connection, work, self.window, measure_from, end, stop));
        }
        let mut total = Measured::new();
        while let Some(measured) = streams.join_next().await {
            match measured {
                Ok(measured) => total.add(measured),
                Err(error) => total.ended_early = Some(error.to_string()),
            }
        }
        total.took = began.elapsed().saturating_sub(self.warm_up).max(Duration::from_millis(1));
        total
    }
}

async fn run_stream(
    connection: Connection,
    work: Arc<Work>,
    window: usize,
    measure_from: Instant,
    end: Instant,
    stop: CancellationToken,
) -> Measured {
    let (mut measured, in_flight) = (Measured::new(), RowsInFlight::new(window));
    let next_row = || (Instant::now() < end && !stop.is_cancelled()).then(|| work.next_row());
    let imported = import_rows(&connection, &in_flight, next_row, |sent_at, refusal| {
        match refusal {
            _ if sent_at < measure_from => {}
            None => measured.record(sent_at.elapsed(), 1),
            Some(refusal) => measured.count_error(&refusal.reason),
        }
        Ok(())
    });
    if let Err(error) = imported.await {
        measured.count_error(&error.reason());
        measured.ended_early = Some(error.to_string());
        measured.is_disconnected = true;
    } else if stop.is_cancelled() {
        measured.ended_early = Some("interrupted".to_owned());
    }
    measured
}
