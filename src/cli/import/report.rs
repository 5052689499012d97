//! The results of the rows: each refused row when its result arrives, and a
//! summary at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use serde::Serialize;

use super::progress::Progress;
use super::row::{BadRow, RowLocation};
use super::source::Source;
use crate::adapters::status::{Reason, status_codes};
use crate::cli::escape::plain;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{Format, Out, number};
use crate::cli::stderr;
use crate::proto::v1::{ImportOrdersResponse, OrderResult, Refusal, order_result};

/// Counts rows and prints their results.
pub(super) struct Report {
    format: Format,
    /// Name of the file.
    file: String,
    /// Names of its columns; empty for NDJSON.
    columns: Vec<&'static str>,
    results: Results,
    summary: Summary,
    progress: Progress,
}

/// The summary, as `--output json` prints it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// True if every row was read and has a result.
    finished: bool,
    rows: u64,
    accepted: u64,
    already_there: u64,
    refused: u64,
    refused_by_reason: BTreeMap<String, u64>,
}

/// The result of a row, as `--output ndjson` prints it.
#[derive(Debug, Serialize)]
struct RowResult<'a> {
    line: u64,
    #[serde(flatten)]
    result: &'a ImportOrdersResponse,
}

/// Standard output. After an error nothing more is printed there, and the import
/// goes on: the orders are on the shelf whether or not somebody reads the results.
struct Results {
    out: Out,
    error: Option<io::Error>,
}

impl Results {
    fn print(&mut self, write: impl FnOnce(&mut Out) -> io::Result<()>) {
        if self.error.is_none() {
            self.error = write(&mut self.out).err();
        }
    }
}

impl Report {
    pub(super) fn new(format: Format, source: &Source) -> Self {
        let results_on_terminal = format == Format::Ndjson && io::stdout().is_terminal();
        Self {
            format,
            file: source.name.clone(),
            columns: source.columns(),
            results: Results { out: Out::new(), error: None },
            summary: Summary::default(),
            progress: Progress::new(source.size, results_on_terminal),
        }
    }

    /// Reports a row that cannot be sent.
    pub(super) fn bad(&mut self, location: RowLocation, bad: BadRow) {
        let outcome = Some(order_result::Outcome::Refusal(bad.refusal));
        let result = Some(OrderResult { order_id: bad.order_id, outcome });
        self.result(location, ImportOrdersResponse { index: location.index, result, already_existed: false });
    }

    /// Reports the server's result of a row.
    pub(super) fn result(&mut self, location: RowLocation, response: ImportOrdersResponse) {
        // The index of the server counts from the beginning of the stream, which
        // may be the second one for this file.
        let response = ImportOrdersResponse { index: location.index, ..response };
        self.summary.rows += 1;
        match &response.result {
            Some(OrderResult { order_id, outcome: Some(order_result::Outcome::Refusal(refusal)) }) => {
                self.summary.refused += 1;
                *self.summary.refused_by_reason.entry(refusal.reason.clone()).or_default() += 1;
                self.note(&self.fault(location.line, order_id, refusal));
            }
            _ if response.already_existed => self.summary.already_there += 1,
            _ => self.summary.accepted += 1,
        }
        self.progress.advance(self.summary.rows, location.end);
        if self.format == Format::Ndjson {
            self.results.print(|out| out.line(&RowResult { line: location.line, result: &response }));
        }
    }

    /// Returns the text for a refused row: the file, its line and column, the fault.
    fn fault(&self, line: u64, order_id: &str, refusal: &Refusal) -> String {
        let mut faults = refusal
            .field_violations
            .iter()
            .map(|violation| format!("{} {}", self.field_name(&violation.field), violation.description));
        let first = faults.next().unwrap_or_else(|| refusal.message.clone());
        let order = if order_id.is_empty() { String::new() } else { format!(" (order {order_id})") };
        let mut text =
            format!("{}:{line}: {}: {}", self.file, refusal.reason, plain(&format!("{first}{order}")));
        for fault in faults {
            let _ = write!(text, "\n  - {}", plain(&fault));
        }
        text
    }

    /// Returns the name of the column that holds a field of the request.
    fn field_name(&self, field: &str) -> String {
        // The column may have a shorter name: `weight` for `weight_grams`, `packaging` for `packaging[0]`.
        match self.columns.iter().find(|column| field.starts_with(**column)) {
            Some(column) => format!("column {column}"),
            None => field.to_owned(),
        }
    }

    /// Prints a line on standard error, above the progress bar.
    pub(super) fn note(&self, line: &str) {
        self.progress.note(line);
    }

    /// Prints the summary and returns the exit code.
    pub(super) fn finish(mut self, outcome: Result<(), Failure>) -> Outcome {
        self.progress.finish();
        self.summary.finished = outcome.is_ok();
        let summary = self.summary.text();
        match self.format {
            Format::Table => self.results.print(|out| out.text(&summary)),
            Format::Json => self.results.print(|out| out.json(&self.summary)),
            Format::Ndjson => {}
        }
        self.results.print(Out::flush);
        if self.format == Format::Ndjson || self.results.error.is_some() {
            stderr::line(summary.trim_end());
        }
        let unprinted = self.results.error.map(|error| {
            format!("cannot write the results to standard output: {error}; the import went on without them")
        });
        if let Err(mut failure) = outcome {
            if let Some(unprinted) = unprinted {
                stderr::line(format_args!("error: {unprinted}"));
            }
            failure.exit = status_codes(Reason::Unavailable).exit;
            let advice = "the import did not finish; it is safe to import the same file again";
            return Err(failure.advise(advice).into());
        }
        if let Some(unprinted) = unprinted {
            return Err(Failure::unprinted(unprinted).into());
        }
        Ok(if self.summary.refused > 0 { status_codes(Reason::OrderAlreadyExists).exit } else { 0 })
    }
}

impl Summary {
    fn text(&self) -> String {
        let mut lines = vec![
            ("rows".to_owned(), self.rows),
            ("accepted".to_owned(), self.accepted),
            ("already existed".to_owned(), self.already_there),
            ("refused".to_owned(), self.refused),
        ];
        lines.extend(self.refused_by_reason.iter().map(|(reason, count)| (format!("  {reason}"), *count)));
        let widest = lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default();
        let counts: Vec<String> =
            lines.iter().map(|(_, count)| number(i64::try_from(*count).unwrap_or(i64::MAX))).collect();
        let longest = counts.iter().map(String::len).max().unwrap_or_default();
        let line =
            |((label, _), count): (&(String, u64), &String)| format!("{label:<widest$}  {count:>longest$}\n");
        lines.iter().zip(&counts).map(line).collect()
    }
}
