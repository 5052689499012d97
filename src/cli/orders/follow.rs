//! `pvz events --follow`: the feed of events as they happen.

use tonic::{Status, Streaming};

use crate::cli::client::{Backoff, Client};
use crate::cli::escape::plain;
use crate::cli::failure::{Failure, Outcome, Stop};
use crate::cli::output::{Format, Out, Row as _};
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
    let mut printer = Printer { out: Out::new(), format: client.format, first: true };
    let mut backoff = Backoff::new();
    let mut is_outage_reported = false;
    loop {
        let failure = match open(client, after.clone()).await {
            Err(status) => Failure::from_status(&client.server, &status),
            Ok(mut events) => loop {
                match events.message().await {
                    Ok(Some(event)) => {
                        backoff.reset();
                        is_outage_reported = false;
                        printer.print(&event)?;
                        after = event.cursor.or(after);
                    }
                    // The feed never ends, so the server is shutting down.
                    Ok(None) => break Failure::stream_ended(&client.server),
                    Err(status) => break Failure::from_status(&client.server, &status),
                }
            },
        };
        if !failure.is_retryable() {
            return Err(Stop::from(failure));
        }
        // Report an outage once, not every attempt.
        if !std::mem::replace(&mut is_outage_reported, true) {
            stderr::line(format_args!("{}; retrying", plain(&failure.refusal().message)));
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
}

impl Printer {
    fn print(&mut self, event: &Event) -> std::io::Result<()> {
        match self.format {
            Format::Table => {
                if self.first {
                    let titles: Vec<_> =
                        Event::COLUMNS.iter().map(|(title, _)| (*title).to_owned()).collect();
                    self.out.text(&line(&titles))?;
                }
                self.out.text(&line(&event.cells()))?;
            }
            Format::Json | Format::Ndjson => self.out.line(event)?,
        }
        self.first = false;
        self.out.flush()
    }
}

/// Minimum widths of the columns: later events are not known when the first is
/// printed.
const COLUMN_WIDTHS: [usize; 6] = [9, 26, 20, 3, 17, 0];

fn line(cells: &[String]) -> String {
    let padded = cells.iter().zip(COLUMN_WIDTHS).zip(Event::COLUMNS).map(|((cell, width), (_, numeric))| {
        let cell = plain(cell);
        if *numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    let cells: Vec<String> = padded.collect();
    format!("{}\n", cells.join("  ").trim_end())
}
