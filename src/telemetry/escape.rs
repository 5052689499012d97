//! Escapes the characters of log lines that a reader does not see as they are.

use std::fmt::Write as _;
use std::io;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::LineFormat;
use crate::domain::is_deceptive;

/// Makes writers that escape each line. The subscriber writes a line in one call.
pub(super) struct Escaping<M> {
    pub(super) inner: M,
    pub(super) format: LineFormat,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Escaping<M> {
    type Writer = Escaping<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaping { inner: self.inner.make_writer(), format: self.format }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        Escaping { inner: self.inner.make_writer_for(metadata), format: self.format }
    }
}

impl<W: io::Write> io::Write for Escaping<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) if text.trim_end_matches('\n').contains(is_deceptive) => {
                self.inner.write_all(escape_line(text, self.format).as_bytes())?;
            }
            _ => self.inner.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Escapes a line in the syntax of its format.
fn escape_line(line: &str, format: LineFormat) -> String {
    let text = line.trim_end_matches('\n');
    let mut escaped = String::with_capacity(line.len() + 16);
    for (at, character) in text.char_indices() {
        match format {
            LineFormat::Colour if is_colour(&text[at..]) => escaped.push(character),
            _ if !is_deceptive(character) => escaped.push(character),
            LineFormat::Colour | LineFormat::Plain => escaped.extend(character.escape_default()),
            LineFormat::Json => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped + &line[text.len()..]
}

/// Returns true if a text begins with a sequence that the subscriber writes: a colour, or bold,
/// dimmed or italic. Values of fields may have others.
fn is_colour(text: &str) -> bool {
    let Some((codes, _)) = text.strip_prefix("\u{1b}[").and_then(|codes| codes.split_once('m')) else {
        return false;
    };
    codes.split(';').all(|code| matches!(code, "0" | "1" | "2" | "3" | "31" | "32" | "33" | "34" | "35"))
}
