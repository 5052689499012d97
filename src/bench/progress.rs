//! The progress of a run, on standard error.

use std::fmt::Display;
use std::io::Write as _;

/// Prints a line. Ignores errors: a run is worth more than its progress.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}
