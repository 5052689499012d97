//! The terminal that standard output is connected to.

use std::env;
use std::io::{self, IsTerminal as _};

use console::Term;

/// Returns the width of the terminal, or `None` if standard output is not one. `COLUMNS` takes precedence.
pub(in crate::cli) fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let columns = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let reported = || Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    columns.or_else(reported).filter(|width| *width > 0)
}
