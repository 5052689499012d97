//! NDJSON: one `AcceptOrder` request per line.

use std::io::{self, BufRead};

use serde::de::IgnoredAny;

use super::lines::{InputLine, InputLines, LineFault};
use super::row::{BadRow, FileFault, ParsedRow};
use crate::cli::failure::Fields;
use crate::proto::json::{self, JsonFault};
use crate::proto::v1::AcceptOrderRequest;

/// Reads rows from NDJSON.
#[derive(Debug)]
pub(super) struct NdjsonRows<R> {
    lines: InputLines<R>,
}

impl<R: BufRead> NdjsonRows<R> {
    /// Checks that the file has one object per line. Other JSON is not read,
    /// because there a fault in one order would hide the end of that order and the
    /// beginning of the next.
    ///
    /// # Errors
    /// The file cannot be read, or is JSON of another form.
    pub(super) fn new(mut lines: InputLines<R>) -> Result<Self, FileFault> {
        let Some(first) = lines.next_filled()? else { return Ok(Self { lines }) };
        let text = first.text.as_deref().unwrap_or_default().trim_start();
        let line = first.number;
        if text.starts_with('[') {
            let advice = "a JSON array must be one object per line: jq -c '.[]' FILE | pvz import -";
            return Err(FileFault::at(line, advice));
        }
        let open = serde_json::from_str::<IgnoredAny>(text).is_err_and(|error| error.is_eof());
        if open
            && text.starts_with('{')
            && let Some(second) = lines.next_filled()?
        {
            // Otherwise the line is a row that was cut off.
            let continues = second.text.as_ref().is_ok_and(|text| !text.trim_start().starts_with('{'));
            lines.unread(second);
            if continues {
                let advice = "a JSON object must be on one line: jq -c . FILE | pvz import -";
                return Err(FileFault::at(line, advice));
            }
        }
        lines.unread(first);
        Ok(Self { lines })
    }

    /// Returns the next row. Skips blank lines.
    pub(super) fn next(&mut self) -> io::Result<Option<ParsedRow>> {
        Ok(self.lines.next_filled()?.map(|InputLine { number, text, end }| {
            let content = text.map_err(LineFault::row).and_then(|text| parse(&text));
            ParsedRow { line: number, end, content }
        }))
    }
}

fn parse(text: &str) -> Result<AcceptOrderRequest, BadRow> {
    json::parse(text.as_bytes()).map_err(|faults| {
        let mut fields = Fields::default();
        for JsonFault { field, mut description, position } in faults {
            if let Some((line, column)) = position {
                // The parser sees one line and calls it the first.
                let at = format!(" at line {line} column {column}");
                description = description.replace(&at, &format!(" at column {column}"));
            }
            fields.violation(if field.is_empty() { "line".to_owned() } else { field }, description);
        }
        BadRow::refused(String::new(), &fields.into_failure())
    })
}
