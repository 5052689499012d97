//! `pvz events --follow`: the feed of events as they happen.

use tonic::{Status, Streaming};

use crate::cli::client::{Backoff, Client};
use crate::cli::escape::plain;
use crate::cli::failure::{Outcome, Stop};
use crate::cli::output::{Format, Out, Row as _, fitting, terminal_width};
use crate::cli::stderr;
use crate::proto::v1::{Event, WatchEventsRequest};

/// Prints events until Ctrl-C. Reconnects when the connection breaks, and
/// continues after the last event printed.
pub(super) async fn follow(client: &Client, after: Option<String>) -> Outcome {
    tokio::select! {
        outcome = watch(client, after) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(0),
    }
}

async fn watch(client: &Client, mut after: Option<String>) -> Outcome {
    let shown = fitting::<Event>((0..COLUMN_WIDTHS.len()).collect(), &COLUMN_WIDTHS, terminal_width());
    let mut printer = Printer { out: Out::new(), format: client.format, first: true, shown };
    let mut backoff = Backoff::new();
    let mut is_outage_reported = false;
    loop {
        let failure = match open(client, after.clone()).await {
            Err(status) => client.failure(&status),
            Ok(mut events) => loop {
                match events.message().await {
                    Ok(Some(event)) => {
                        backoff.reset();
                        is_outage_reported = false;
                        printer.print(&event)?;
                        after = event.cursor.or(after);
                    }
                    // The feed never ends, so the server is shutting down.
                    Ok(None) => break client.stream_ended(),
                    Err(status) => break client.failure(&status),
                }
            },
        };
        if !failure.is_retryable {
            return Err(Stop::from(failure));
        }
        // Report an outage once, not every attempt.
        if !std::mem::replace(&mut is_outage_reported, true) {
            stderr::line(format_args!("{}; retrying", plain(&failure.refusal.message)));
        }
        tokio::time::sleep(backoff.next(failure.retry_after)).await;
    }
}

async fn open(client: &Client, after: Option<String>) -> Result<Streaming<Event>, Status> {
    let request = client.request(WatchEventsRequest { after });
    Ok(client.grpc().watch_events(request).await?.into_inner())
}

struct Printer {
    out: Out,
    format: Format,
    first: bool,
    /// The columns, by index.
    shown: Vec<usize>,
}

impl Printer {
    fn print(&mut self, event: &Event) -> std::io::Result<()> {
        match self.format {
            Format::Table => {
                if self.first {
                    let titles: Vec<_> =
                        Event::COLUMNS.iter().map(|(title, _)| (*title).to_owned()).collect();
                    self.out.text(&line(&titles, &self.shown))?;
                }
                self.out.text(&line(&event.cells(), &self.shown))?;
            }
            Format::Json | Format::Ndjson => self.out.line(event)?,
        }
        self.first = false;
        self.out.flush()
    }
}

/// Minimum widths of the columns: later events are not known when the first is
/// printed.
const COLUMN_WIDTHS: [usize; 6] = [9, 26, 20, 3, 17, 12];

fn line(cells: &[String], shown: &[usize]) -> String {
    let padded = shown.iter().map(|index| {
        let (cell, width) = (plain(&cells[*index]), COLUMN_WIDTHS[*index]);
        if Event::COLUMNS[*index].1 { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    let cells: Vec<String> = padded.collect();
    format!("{}\n", cells.join("  ").trim_end())
}
