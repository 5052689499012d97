//! The progress bar, on standard error when that is a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::number;

/// Shows how far an import is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For a file of that many bytes. `hidden` when standard output has the
    /// terminal for itself.
    pub(super) fn new(size: Option<u64>, hidden: bool) -> Self {
        if hidden || !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let (bar, template) = match size {
            Some(size) => {
                (ProgressBar::new(size), "{bar:30} {percent:>3}%  {msg}  {elapsed} gone, {eta} to go")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed} gone"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// So many rows are done, up to that byte.
    pub(super) fn advance(&self, rows: u64, end: u64) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(self.bar.position().max(end));
        // A row more or less does not show at this resolution.
        if rows.is_multiple_of(64) {
            let shown = |rows: u64| number(i64::try_from(rows).unwrap_or(i64::MAX));
            let millis = u64::try_from(self.bar.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = rows.saturating_mul(1_000) / millis;
            self.bar.set_message(format!("{} rows, {} rows/s", shown(rows), shown(rate)));
        }
    }

    /// Prints a line above the bar.
    pub(super) fn note(&self, line: &str) {
        self.bar.suspend(|| anstream::eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
