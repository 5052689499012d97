//! The progress bar of an import, on standard error if that is a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::number;
use crate::cli::stderr;

/// A progress bar.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Creates the bar for a file of `size` bytes. Pass `hidden` if results are
    /// printed on the same terminal.
    pub(super) fn new(size: Option<u64>, hidden: bool) -> Self {
        if hidden || !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let (bar, template) = match size {
            Some(size) => {
                (ProgressBar::new(size), "{bar:30} {percent:>3}%  {msg}  {elapsed} elapsed, {eta} left")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed} elapsed"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Shows that `rows` rows are done, the last of them ending at byte `end`.
    pub(super) fn advance(&self, rows: u64, end: u64) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(self.bar.position().max(end));
        // A new text for every row would cost more than the row.
        if rows.is_multiple_of(64) {
            let format = |rows: u64| number(i64::try_from(rows).unwrap_or(i64::MAX));
            let millis = u64::try_from(self.bar.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = rows.saturating_mul(1_000) / millis;
            self.bar.set_message(format!("{} rows, {} rows/s", format(rows), format(rate)));
        }
    }

    /// Prints a line above the bar.
    pub(super) fn note(&self, line: &str) {
        self.bar.suspend(|| stderr::line(line));
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
