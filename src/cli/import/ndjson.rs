//! NDJSON: an AcceptOrder request on each line.

use std::io::{self, BufRead};

use super::lines::{InputLine, InputLines};
use super::row::BadRow;
use crate::proto::json;
use crate::proto::v1::AcceptOrderRequest;

/// Reads rows.
#[derive(Debug)]
pub(super) struct NdjsonRows<R> {
    lines: InputLines<R>,
}

impl<R: BufRead> NdjsonRows<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { lines: InputLines::new(reader) }
    }

    /// The next row: its line, where it ends, and what it says. Blank lines are
    /// no rows.
    pub(super) fn next(&mut self) -> io::Result<Option<super::source::RawRow>> {
        while let Some(InputLine { number, bytes, end }) = self.lines.next()? {
            let content = match bytes {
                Some(bytes) if bytes.trim_ascii().is_empty() => continue,
                Some(bytes) => parse(&bytes),
                None => Err(BadRow::too_long()),
            };
            return Ok(Some((number, end, content)));
        }
        Ok(None)
    }
}

fn parse(bytes: &[u8]) -> Result<AcceptOrderRequest, BadRow> {
    json::parse(bytes).map_err(|fault| {
        let field = if fault.field.is_empty() || fault.field == "." { "line" } else { &fault.field };
        BadRow::of(field, fault.description)
    })
}
