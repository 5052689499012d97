//! NDJSON: one `AcceptOrder` request per line.

use std::io::{self, BufRead};

use super::lines::{InputLine, InputLines};
use super::row::{BadRow, ParsedRow};
use crate::cli::failure::Fields;
use crate::proto::json::{self, JsonFault};
use crate::proto::v1::AcceptOrderRequest;

/// Reads rows from NDJSON.
#[derive(Debug)]
pub(super) struct NdjsonRows<R> {
    lines: InputLines<R>,
}

impl<R: BufRead> NdjsonRows<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { lines: InputLines::new(reader) }
    }

    /// Returns the next row. Skips blank lines.
    pub(super) fn next(&mut self) -> io::Result<Option<ParsedRow>> {
        while let Some(InputLine { number, bytes, end }) = self.lines.next()? {
            let content = match bytes {
                Some(bytes) if bytes.trim_ascii().is_empty() => continue,
                Some(bytes) => parse(&bytes),
                None => Err(BadRow::too_long()),
            };
            return Ok(Some(ParsedRow { line: number, end, content }));
        }
        Ok(None)
    }
}

fn parse(bytes: &[u8]) -> Result<AcceptOrderRequest, BadRow> {
    json::parse(bytes).map_err(|faults| {
        let mut fields = Fields::default();
        for JsonFault { field, description, position: _ } in faults {
            fields.violation(if field.is_empty() { "line".to_owned() } else { field }, description);
        }
        BadRow::refused(String::new(), &fields.into_failure())
    })
}
