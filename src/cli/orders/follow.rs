//! `pvz events --follow`: the feed without end.

use tonic::{Status, Streaming};

use crate::cli::client::{Backoff, Client, Failure, Outcome, Stop, plain};
use crate::cli::output::{Format, Out, Row as _};
use crate::proto::v1::{Event, WatchEventsRequest};

/// Prints events until Ctrl-C. A broken connection is made again, and the feed
/// goes on from the last event printed.
pub(super) async fn follow(client: &Client, after: Option<String>) -> Outcome {
    tokio::select! {
        outcome = watch(client, after) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(0),
    }
}

async fn watch(client: &Client, mut after: Option<String>) -> Outcome {
    let mut printer = Printer { out: Out::new(), format: client.format, first: true };
    let mut backoff = Backoff::new();
    let mut is_broken = false;
    loop {
        let failure = match open(client, after.clone()).await {
            Err(status) => Failure::from_status(&client.server, &status),
            Ok(mut events) => loop {
                match events.message().await {
                    Ok(Some(event)) => {
                        backoff.reset();
                        is_broken = false;
                        printer.print(&event)?;
                        after = event.cursor.or(after);
                    }
                    // The feed has no end: the server went away.
                    Ok(None) => break Failure::stream_ended(&client.server),
                    Err(status) => break Failure::from_status(&client.server, &status),
                }
            },
        };
        if !failure.is_retryable() {
            return Err(Stop::from(failure));
        }
        // Once for each time that it breaks, however often it is tried.
        if !std::mem::replace(&mut is_broken, true) {
            anstream::eprintln!("{}; trying again", plain(&failure.refusal().message));
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

/// How wide the columns of an event are when nobody knows the next one.
const WIDTHS: [usize; 6] = [9, 26, 20, 3, 17, 0];

fn line(cells: &[String]) -> String {
    let padded = cells.iter().zip(WIDTHS).zip(Event::COLUMNS).map(|((cell, width), (_, numeric))| {
        let cell = plain(cell);
        if *numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    let cells: Vec<String> = padded.collect();
    format!("{}\n", cells.join("  ").trim_end())
}
