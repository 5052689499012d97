//! InputLines of a file, none longer than 64 KiB in memory.

use std::io::{self, BufRead};

/// The longest line, and the longest CSV record, in bytes (`docs/api.md`,
/// NDJSON).
pub(super) const MAX_LINE: usize = 64 << 10;

/// A line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputLine {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Its bytes; `None` if it is longer than a line may be.
    pub bytes: Option<Vec<u8>>,
    /// Where it ends in the file, in bytes.
    pub end: u64,
}

/// Reads lines.
#[derive(Debug)]
pub(super) struct InputLines<R> {
    reader: R,
    number: u64,
    end: u64,
}

impl<R: BufRead> InputLines<R> {
    /// From the beginning of a file; a byte-order mark is skipped.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, number: 0, end: 0 }
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<InputLine>> {
        let mut bytes = Vec::new();
        let mut length: usize = 0;
        let mut ended = false;
        while !ended {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let taken = newline.map_or(buffer.len(), |at| at + 1);
            ended = newline.is_some();
            let text = &buffer[..newline.unwrap_or(taken)];
            // One byte more than a line may have, to see that it has more.
            let room = (MAX_LINE + 1).saturating_sub(bytes.len());
            bytes.extend_from_slice(&text[..text.len().min(room)]);
            length = length.saturating_add(taken);
            self.reader.consume(taken);
        }
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.end += length as u64;
        if self.number == 1 && bytes.starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(..3);
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let bytes = (bytes.len() <= MAX_LINE).then_some(bytes);
        Ok(Some(InputLine { number: self.number, bytes, end: self.end }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn read(text: &[u8]) -> Vec<(u64, Option<Vec<u8>>, u64)> {
        let mut lines = InputLines::new(BufReader::with_capacity(7, text));
        std::iter::from_fn(|| lines.next().unwrap()).map(|line| (line.number, line.bytes, line.end)).collect()
    }

    #[test]
    fn lines_end_with_or_without_carriage_returns() {
        let expected = [(1, "one"), (2, ""), (3, "three")];
        for (text, ends) in [("one\n\nthree", [4, 5, 10]), ("\u{feff}one\r\n\r\nthree\r\n", [8, 10, 17])] {
            let lines = read(text.as_bytes());
            for ((line, (number, bytes)), end) in lines.iter().zip(expected).zip(ends) {
                assert_eq!(*line, (number, Some(bytes.as_bytes().to_vec()), end));
            }
            assert_eq!(lines.len(), 3);
        }
        assert!(read(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let fits = vec![b'x'; MAX_LINE];
        let mut text = fits.clone();
        text.extend_from_slice(b"\nx");
        text.extend_from_slice(&fits);
        text.extend_from_slice(b"\nlast\n");
        let lines: Vec<_> = read(&text).into_iter().map(|(_, bytes, _)| bytes).collect();
        assert_eq!(lines, [Some(fits), None, Some(b"last".to_vec())]);
    }
}
