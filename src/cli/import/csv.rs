//! CSV (RFC 4180): a header, then one record per row.
//!
//! csv-core splits a record into fields. Records are framed line by line, so
//! that an unclosed quote affects one line and not the rest of the file.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::lines::{InputLine, InputLines, MAX_LINE};
use super::row::{BadRow, ParsedRow};
use crate::cli::failure::Fields;
use crate::cli::orders::{packaging_codes, price, weight};
use crate::proto::Timestamp;
use crate::proto::v1::AcceptOrderRequest;

/// The field of the request that a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    OrderId,
    CustomerId,
    StorageUntil,
    WeightGrams,
    Weight,
    PriceMinor,
    Price,
    Packaging,
    PickupPointId,
    RequestId,
}

const COLUMNS: [(&str, Column); 10] = [
    ("order_id", Column::OrderId),
    ("customer_id", Column::CustomerId),
    ("storage_until", Column::StorageUntil),
    ("weight_grams", Column::WeightGrams),
    ("weight", Column::Weight),
    ("price_minor", Column::PriceMinor),
    ("price", Column::Price),
    ("packaging", Column::Packaging),
    ("pickup_point_id", Column::PickupPointId),
    ("request_id", Column::RequestId),
];

/// A record of the file.
struct CsvRecord {
    /// Number of its first line, from 1.
    line: u64,
    /// Offset of its end in the file, in bytes.
    end: u64,
    /// The fields, or why the lines are not a record.
    fields: Result<Vec<String>, BadRow>,
}

/// Reads rows from CSV.
#[derive(Debug)]
pub(super) struct CsvRows<R> {
    lines: InputLines<R>,
    /// Lines that were read in search of a closing quote and belong to later
    /// records.
    ahead: VecDeque<InputLine>,
    columns: Vec<Column>,
}

impl<R: BufRead> CsvRows<R> {
    /// Reads the header. The inner result says why the header is invalid.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn new(reader: R) -> io::Result<Result<Self, BadRow>> {
        let mut rows = Self { lines: InputLines::new(reader), ahead: VecDeque::new(), columns: Vec::new() };
        let header = match rows.record()? {
            None => return Ok(Err(BadRow::of("header", "is missing: the file is empty"))),
            Some(CsvRecord { fields: Err(bad), .. }) => return Ok(Err(bad)),
            Some(CsvRecord { fields: Ok(names), .. }) => columns(&names),
        };
        Ok(header.map(|columns| Self { columns, ..rows }))
    }

    /// Returns the next row.
    pub(super) fn next(&mut self) -> io::Result<Option<ParsedRow>> {
        Ok(self.record()?.map(|CsvRecord { line, end, fields }| {
            let content = fields.and_then(|texts| request(&self.columns, texts));
            ParsedRow { line, end, content }
        }))
    }

    fn line(&mut self) -> io::Result<Option<InputLine>> {
        match self.ahead.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.lines.next(),
        }
    }

    fn record(&mut self) -> io::Result<Option<CsvRecord>> {
        let first = loop {
            match self.line()? {
                None => return Ok(None),
                Some(InputLine { bytes: Some(bytes), .. }) if bytes.is_empty() => {}
                Some(line) => break line,
            }
        };
        let mut splitter = Splitter::new();
        let mut taken = vec![first];
        loop {
            let last = &taken[taken.len() - 1];
            let split = match &last.bytes {
                Some(bytes) => splitter.push(bytes),
                None => Split::TooLong,
            };
            let bad = match split {
                Split::Complete(fields) => {
                    let fields = fields.ok_or_else(|| BadRow::of("line", "must be UTF-8"));
                    return Ok(Some(CsvRecord { line: taken[0].number, end: last.end, fields }));
                }
                Split::TooLong if taken.len() == 1 => BadRow::too_long(),
                Split::TooLong => unclosed(),
                Split::Open => match self.line()? {
                    Some(line) => {
                        taken.push(line);
                        continue;
                    }
                    None => unclosed(),
                },
            };
            // The lines after the first may be records of their own.
            let rest = taken.split_off(1);
            for line in rest.into_iter().rev() {
                self.ahead.push_front(line);
            }
            return Ok(Some(CsvRecord { line: taken[0].number, end: taken[0].end, fields: Err(bad) }));
        }
    }
}

fn unclosed() -> BadRow {
    BadRow::of("line", "has a quote that is not closed within 64 KiB")
}

/// The state of a record after a line.
enum Split {
    /// The line ends the record. The fields, or `None` if one is not UTF-8.
    Complete(Option<Vec<String>>),
    /// A quoted field continues on the next line.
    Open,
    /// The record is longer than [`MAX_LINE`].
    TooLong,
}

/// Splits one record into fields, line by line.
struct Splitter {
    reader: Reader,
    text: Vec<u8>,
    written: usize,
    ends: Vec<usize>,
    ended: usize,
}

impl Splitter {
    fn new() -> Self {
        // A lone carriage return does not end a line here, so it must not end a
        // record either.
        let reader = ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build();
        Self { reader, text: Vec::new(), written: 0, ends: Vec::new(), ended: 0 }
    }

    /// Adds a line, given without its line ending.
    fn push(&mut self, line: &[u8]) -> Split {
        // The fields take no more bytes than the line, and a line of n bytes has
        // at most n + 1 fields.
        let needed = self.written + line.len() + 1;
        if needed > MAX_LINE + 1 {
            return Split::TooLong;
        }
        self.text.resize(needed, 0);
        self.ends.resize(self.ended + line.len() + 1, 0);
        for input in [line, b"\n"] {
            // csv-core takes empty input for the end of the file.
            if input.is_empty() {
                continue;
            }
            let (result, _, written, ended) =
                self.reader.read_record(input, &mut self.text[self.written..], &mut self.ends[self.ended..]);
            self.written += written;
            self.ended += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record | ReadRecordResult::End => {
                    return Split::Complete(self.fields());
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => return Split::TooLong,
            }
        }
        Split::Open
    }

    fn fields(&self) -> Option<Vec<String>> {
        let mut start = 0;
        let texts = self.ends[..self.ended].iter().map(|end| {
            let text = std::str::from_utf8(&self.text[start..*end]).ok().map(str::to_owned);
            start = *end;
            text
        });
        texts.collect()
    }
}

/// Reads the header.
fn columns(names: &[String]) -> Result<Vec<Column>, BadRow> {
    let mut found = Vec::with_capacity(names.len());
    let mut fields = Fields::default();
    for name in names {
        match COLUMNS.iter().find(|(known, _)| *known == name.trim()) {
            None => fields.violation("header", format!("has the unknown column {name:?}")),
            Some((_, column)) if found.contains(column) => {
                fields.violation("header", format!("has the column {name:?} twice"));
            }
            Some((_, column)) => found.push(*column),
        }
    }
    for (one, other, name) in
        [(Column::Weight, Column::WeightGrams, "weight"), (Column::Price, Column::PriceMinor, "price")]
    {
        if found.contains(&one) && found.contains(&other) {
            fields.violation("header", format!("has two columns for the {name}"));
        }
    }
    match fields.finish() {
        Ok(()) => Ok(found),
        Err(failure) => Err(BadRow::refused(String::new(), &failure)),
    }
}

/// Builds the request of a record. An empty string is an absent field.
fn request(columns: &[Column], texts: Vec<String>) -> Result<AcceptOrderRequest, BadRow> {
    if columns.len() != texts.len() {
        let description = format!("has {} fields, but the header has {}", texts.len(), columns.len());
        return Err(BadRow::of("line", description));
    }
    let integer = |text: &str| text.parse::<i64>().map_err(|_| "must be a whole number");
    let mut request = AcceptOrderRequest::default();
    // Every field is named, so a field that is added does not compile until a
    // column holds it.
    let AcceptOrderRequest {
        order_id,
        customer_id,
        storage_until,
        weight_grams,
        price_minor,
        packaging,
        pickup_point_id,
        request_id,
    } = &mut request;
    let mut fields = Fields::default();
    for (column, text) in columns.iter().zip(texts) {
        let given = Some(text.as_str());
        match column {
            Column::StorageUntil => {
                *storage_until = fields.read("storage_until", given, Timestamp::parse_rfc3339);
            }
            Column::WeightGrams => *weight_grams = fields.read("weight_grams", given, integer),
            Column::Weight => *weight_grams = fields.read("weight_grams", given, weight),
            Column::PriceMinor => *price_minor = fields.read("price_minor", given, integer),
            Column::Price => *price_minor = fields.read("price_minor", given, price),
            Column::Packaging => *packaging = packaging_codes(&text),
            Column::OrderId => *order_id = text,
            Column::CustomerId => *customer_id = text,
            Column::PickupPointId => *pickup_point_id = Some(text).filter(|text| !text.is_empty()),
            Column::RequestId => *request_id = Some(text).filter(|text| !text.is_empty()),
        }
    }
    match fields.finish() {
        Ok(()) => Ok(request),
        Err(failure) => Err(BadRow::refused(request.order_id, &failure)),
    }
}

#[cfg(test)]
mod tests;
