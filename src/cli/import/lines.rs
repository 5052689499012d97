//! Splits a file into lines, holding at most 64 KiB of a line in memory. A line
//! ends with LF, CRLF or CR, also in turns.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use super::encoding::{Encoding, LineEnd};
use super::row::BadRow;

/// The longest line, and the longest CSV record, in bytes of UTF-8
/// (`docs/api.md`, NDJSON).
pub(super) const MAX_LINE: usize = 64 << 10;
const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// A line without its line ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputLine {
    /// Line number, from 1.
    pub number: u64,
    /// Content, or why there is none.
    pub text: Result<String, LineFault>,
    /// Offset of its end in the file, in bytes.
    pub end: u64,
}

/// The reason why the content of a line is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineFault {
    /// It is longer than [`MAX_LINE`].
    TooLong,
    /// It is not text in the encoding of the file.
    NotText(Encoding),
}

impl LineFault {
    /// Returns the row that consists of the line.
    pub(super) fn row(self) -> BadRow {
        match self {
            Self::TooLong => BadRow::of("line", "must be at most 64 KiB long"),
            Self::NotText(encoding) => BadRow::of("line", format!("must be text in {}", encoding.name())),
        }
    }
}

/// Reads a file line by line.
#[derive(Debug)]
pub(super) struct InputLines<R> {
    reader: R,
    encoding: Encoding,
    number: u64,
    end: u64,
    /// The last line ended with CR, so an LF that follows belongs to its ending.
    after_carriage_return: bool,
    /// Lines that were given back.
    ahead: VecDeque<InputLine>,
}

/// A line in the encoding of the file.
struct RawLine {
    /// Content, cut off above the limit.
    bytes: Vec<u8>,
    end: Option<LineEnd>,
}

impl<R: BufRead> InputLines<R> {
    /// Reads from the beginning of a file. Skips a byte-order mark.
    pub(super) fn new(reader: R, encoding: Encoding) -> Self {
        Self { reader, encoding, number: 0, end: 0, after_carriage_return: false, ahead: VecDeque::new() }
    }

    /// Returns the next line, or `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<InputLine>> {
        if let Some(line) = self.ahead.pop_front() {
            return Ok(Some(line));
        }
        while let Some(RawLine { bytes, end }) = self.raw_line()? {
            let after_carriage_return = self.after_carriage_return;
            self.after_carriage_return = end == Some(LineEnd::CarriageReturn);
            if after_carriage_return && bytes.is_empty() && end == Some(LineEnd::LineFeed) {
                continue;
            }
            self.number += 1;
            return Ok(Some(InputLine { number: self.number, text: self.decode(bytes), end: self.end }));
        }
        Ok(None)
    }

    /// Returns the next line that is not blank.
    pub(super) fn next_filled(&mut self) -> io::Result<Option<InputLine>> {
        while let Some(line) = self.next()? {
            if line.text.as_ref().map_or(true, |text| !text.trim().is_empty()) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// Gives a line back: it is the next one again.
    pub(super) fn unread(&mut self, line: InputLine) {
        self.ahead.push_front(line);
    }

    fn decode(&self, bytes: Vec<u8>) -> Result<String, LineFault> {
        if bytes.len() > self.limit() {
            return Err(LineFault::TooLong);
        }
        let mut text = self.encoding.decode(bytes).ok_or(LineFault::NotText(self.encoding))?;
        if self.number == 1 && text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len_utf8());
        }
        if text.len() > MAX_LINE { Err(LineFault::TooLong) } else { Ok(text) }
    }

    /// Returns the longest line that is kept, in bytes of the file.
    fn limit(&self) -> usize {
        (MAX_LINE + BYTE_ORDER_MARK.len_utf8()) * self.encoding.unit()
    }

    fn raw_line(&mut self) -> io::Result<Option<RawLine>> {
        let unit = self.encoding.unit();
        let limit = self.limit();
        let mut bytes = Vec::new();
        let mut length: usize = 0;
        let mut previous = 0;
        let mut end = None;
        while end.is_none() {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            let mut taken = 0;
            while end.is_none() && taken < buffer.len() {
                let byte = buffer[taken];
                taken += 1;
                // `unit` is a power of two.
                if (length + taken) & (unit - 1) == 0 {
                    end = self.encoding.line_end(previous, byte);
                }
                previous = byte;
            }
            // More than the limit, to notice that the line exceeds it.
            let room = (limit + 1 + unit).saturating_sub(bytes.len());
            bytes.extend_from_slice(&buffer[..taken.min(room)]);
            length += taken;
            self.reader.consume(taken);
        }
        if length == 0 {
            return Ok(None);
        }
        self.end += length as u64;
        if end.is_some() {
            bytes.truncate(length - unit);
        }
        Ok(Some(RawLine { bytes, end }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn read(bytes: &[u8], encoding: Encoding) -> Vec<InputLine> {
        let mut lines = InputLines::new(BufReader::with_capacity(7, bytes), encoding);
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn texts(bytes: &[u8], encoding: Encoding) -> Vec<Result<String, LineFault>> {
        read(bytes, encoding).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_end_with_any_line_ending() {
        for text in [
            "one\n\nthree\nfour",
            "one\r\n\r\nthree\r\nfour\r\n",
            "\u{feff}one\r\rthree\rfour\r",
            "one\r\n\nthree\rfour\n",
        ] {
            let utf_16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
            for (bytes, encoding) in [
                (text.as_bytes().to_vec(), Encoding::Auto),
                (utf_16(u16::to_le_bytes), Encoding::Utf16Le),
                (utf_16(u16::to_be_bytes), Encoding::Utf16Be),
            ] {
                let lines = read(&bytes, encoding);
                let numbers: Vec<u64> = lines.iter().map(|line| line.number).collect();
                assert_eq!(numbers, [1, 2, 3, 4], "{text:?} {encoding:?}");
                let texts: Vec<&str> = lines.iter().map(|line| line.text.as_deref().unwrap()).collect();
                assert_eq!(texts, ["one", "", "three", "four"], "{text:?} {encoding:?}");
            }
        }
        assert!(read(b"", Encoding::Auto).is_empty());
        let ends: Vec<u64> = read(b"a\nbc\n\nd", Encoding::Auto).iter().map(|line| line.end).collect();
        assert_eq!(ends, [2, 5, 6, 7]);
    }

    #[test]
    fn utf_16_is_split_at_whole_units() {
        // U+0A0D and U+0D0A have the bytes of CR and LF, as do U+010A and U+0A01 at an odd offset.
        let text = "\u{a0d}\u{d0a}\u{10a}\u{a01}\n2";
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(
            texts(&bytes, Encoding::Utf16Le),
            [Ok(text[..text.len() - 2].to_owned()), Ok("2".to_owned())]
        );
        let mut cut = bytes;
        cut.push(b'\n');
        assert_eq!(texts(&cut, Encoding::Utf16Le)[1], Err(LineFault::NotText(Encoding::Utf16Le)));
    }

    #[test]
    fn an_overlong_line_is_skipped_alone() {
        let fits = "x".repeat(MAX_LINE);
        let text = format!("\u{feff}{fits}\nx{fits}\r\n{}\nlast\n", "г".repeat(MAX_LINE / 2 + 1));
        let expected = [Ok(fits), Err(LineFault::TooLong), Err(LineFault::TooLong), Ok("last".to_owned())];
        assert_eq!(texts(text.as_bytes(), Encoding::Utf8), expected);
        let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(texts(&utf_16, Encoding::Utf16Be), expected);
    }
}
