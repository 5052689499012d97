//! Splits a file into lines, holding at most 64 KiB of a line in memory.

use std::io::{self, BufRead};

/// The longest line, and the longest CSV record, in bytes (`docs/api.md`,
/// NDJSON).
pub(super) const MAX_LINE: usize = 64 << 10;

/// A line without its line ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputLine {
    /// Line number, from 1.
    pub number: u64,
    /// Content; `None` if the line is longer than [`MAX_LINE`].
    pub bytes: Option<Vec<u8>>,
    /// Offset of its end in the file, in bytes.
    pub end: u64,
}

/// Reads a file line by line.
#[derive(Debug)]
pub(super) struct InputLines<R> {
    reader: R,
    number: u64,
    end: u64,
}

impl<R: BufRead> InputLines<R> {
    /// Reads from the beginning of a file. Skips a byte-order mark.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, number: 0, end: 0 }
    }

    /// Returns the next line, or `None` at the end of the file.
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
            // One byte more than the limit, to notice that the line exceeds it.
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
    fn lines_may_end_with_carriage_returns() {
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
    fn an_overlong_line_is_skipped_alone() {
        let fits = vec![b'x'; MAX_LINE];
        let mut text = fits.clone();
        text.extend_from_slice(b"\nx");
        text.extend_from_slice(&fits);
        text.extend_from_slice(b"\nlast\n");
        let lines: Vec<_> = read(&text).into_iter().map(|(_, bytes, _)| bytes).collect();
        assert_eq!(lines, [Some(fits), None, Some(b"last".to_vec())]);
    }
}
