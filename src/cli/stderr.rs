//! Standard error: messages for people. Results go to standard output.

use std::fmt::Display;
use std::io::Write as _;

/// Prints a line. Ignores errors: there is nowhere to report them, and a full
/// disk or a closed pipe must not stop the work. (`eprintln!` panics instead.)
pub(super) fn line(text: impl Display) {
    // One write, so that lines of several threads do not mix.
    let _ = anstream::stderr().write_all(format!("{text}\n").as_bytes());
}
