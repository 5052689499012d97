//! CSV: a header, then one record per row, as spreadsheets write it.
//!
//! Commas, semicolons or tabs separate the fields. Records are framed line by
//! line, so that an unclosed quote affects one line and not the rest of the file.

mod cells;
mod splitter;

use std::io::{self, BufRead};

use super::lines::{InputLines, MAX_LINE};
use super::row::{BadRow, FileFault, ParsedRow};
use crate::cli::failure::Fields;
use crate::cli::orders::{deadline_in_file, packaging_codes, price, weight};
use crate::proto::v1::AcceptOrderRequest;
use splitter::{Split, Splitter};

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
    ("weight", Column::Weight),
    ("weight_grams", Column::WeightGrams),
    ("price", Column::Price),
    ("price_minor", Column::PriceMinor),
    ("packaging", Column::Packaging),
    ("pickup_point_id", Column::PickupPointId),
    ("request_id", Column::RequestId),
];

/// The columns without which every row would be refused.
const REQUIRED: [Column; 3] = [Column::OrderId, Column::CustomerId, Column::StorageUntil];

/// The delimiters of fields, the most usual last.
const DELIMITERS: [char; 3] = ['\t', ';', ','];

/// Unknown columns that a message names.
const MAX_UNKNOWN: usize = 5;

impl Column {
    fn of(name: &str) -> Option<Self> {
        let found = COLUMNS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, column)| *column)
    }

    fn name(self) -> &'static str {
        COLUMNS.iter().find(|(_, column)| *column == self).map_or("", |(name, _)| name)
    }
}

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
    delimiter: char,
    /// The columns up to the last one with a name; `None` for one without.
    columns: Vec<Option<Column>>,
}

impl<R: BufRead> CsvRows<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The file cannot be read, or has no valid header.
    pub(super) fn new(lines: InputLines<R>) -> Result<Self, FileFault> {
        let mut rows = Self { lines, delimiter: ',', columns: Vec::new() };
        if let Some(first) = rows.lines.next_filled()? {
            let text = first.text.as_deref().unwrap_or_default();
            if let Some(delimiter) = named_delimiter(text) {
                rows.delimiter = delimiter.map_err(|message| FileFault::at(first.number, message))?;
            } else {
                rows.delimiter = likely_delimiter(text);
                rows.lines.unread(first);
            }
        }
        let Some(CsvRecord { line, fields, .. }) = rows.record()? else {
            let message =
                format!("the file is empty; the first line must name the columns: {}", columns_text());
            return Err(FileFault::Content { line: None, message });
        };
        let columns = fields.map_err(|bad| bad.sentence()).and_then(|names| columns(&names));
        rows.columns = columns.map_err(|message| FileFault::at(line, message))?;
        Ok(rows)
    }

    /// Returns the names of the columns.
    pub(super) fn columns(&self) -> Vec<&'static str> {
        self.columns.iter().flatten().map(|column| column.name()).collect()
    }

    /// Returns the next row. Skips rows of blank fields.
    pub(super) fn next(&mut self) -> io::Result<Option<ParsedRow>> {
        while let Some(CsvRecord { line, end, fields }) = self.record()? {
            let content = match fields {
                Ok(fields) if fields.iter().all(|field| cells::content(field).is_empty()) => continue,
                Ok(fields) => self.request(&fields),
                Err(bad) => Err(bad),
            };
            return Ok(Some(ParsedRow { line, end, content }));
        }
        Ok(None)
    }

    fn record(&mut self) -> io::Result<Option<CsvRecord>> {
        let Some(first) = self.lines.next_filled()? else { return Ok(None) };
        let mut splitter = Splitter::new(self.delimiter);
        let mut length = 0;
        let mut taken = vec![first];
        let bad = loop {
            let last = &taken[taken.len() - 1];
            let text = match &last.text {
                Ok(text) => text,
                Err(fault) if taken.len() == 1 => break fault.row(),
                Err(_) => break self.unclosed(&splitter),
            };
            length += text.len() + 1;
            if length > MAX_LINE + 1 {
                break self.unclosed(&splitter);
            }
            match splitter.push(last.number, text) {
                Split::Complete(fields) => {
                    return Ok(Some(CsvRecord { line: taken[0].number, end: last.end, fields: Ok(fields) }));
                }
                Split::TextAfterQuote(at) => break self.text_after_quote(&splitter, last.number, at),
                Split::Open => match self.lines.next()? {
                    Some(line) => taken.push(line),
                    None => break self.unclosed(&splitter),
                },
            }
        };
        // The lines after the first may be records of their own.
        for line in taken.drain(1..).rev() {
            self.lines.unread(line);
        }
        Ok(Some(CsvRecord { line: taken[0].number, end: taken[0].end, fields: Err(bad) }))
    }

    fn unclosed(&self, splitter: &Splitter) -> BadRow {
        let (line, at) = splitter.opened();
        let description = format!(
            "has a quote that is not closed within 64 KiB, at character {at} of line {line}; close or remove it"
        );
        BadRow::of(self.name(splitter), description)
    }

    fn text_after_quote(&self, splitter: &Splitter, line: u64, at: usize) -> BadRow {
        let description = format!(
            "has text after its closing quote, at character {at} of line {line}; \
             write a quote inside quotes twice: \"\""
        );
        BadRow::of(self.name(splitter), description)
    }

    /// Returns the name of the column that is being split.
    fn name(&self, splitter: &Splitter) -> &'static str {
        self.columns.get(splitter.index()).copied().flatten().map_or("line", Column::name)
    }

    /// Checks the number of fields, and that those without a column are blank.
    fn check_width(&self, record: &[String]) -> Result<(), String> {
        let blank = |field: &String| cells::content(field).is_empty();
        let width = self.columns.len();
        if record.len() < width {
            return Err(format!("has {} fields, but the header has {width}", record.len()));
        }
        if let Some(last) = record.iter().rposition(|field| !blank(field)).filter(|last| *last >= width) {
            let delimiter = cells::echo(&self.delimiter.to_string());
            return Err(format!(
                "has {} fields, but the header has {width}; a field with {delimiter} in it needs quotes",
                last + 1
            ));
        }
        let unnamed =
            self.columns.iter().zip(record).position(|(column, field)| column.is_none() && !blank(field));
        match unnamed {
            Some(index) => Err(format!("has text in column {}, which has no name in the header", index + 1)),
            None => Ok(()),
        }
    }

    /// Builds the request of a record. An empty string is an absent field.
    fn request(&self, record: &[String]) -> Result<AcceptOrderRequest, BadRow> {
        self.check_width(record).map_err(|description| BadRow::of("line", description))?;
        let delimiter = self.delimiter;
        let integer = |text: &str| text.parse::<i64>().map_err(|_| "must be a whole number");
        let optional = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
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
        for (column, field) in self.columns.iter().zip(record) {
            let Some(column) = column else { continue };
            let text = cells::content(field);
            let name = column.name();
            match column {
                Column::OrderId => {
                    text.clone_into(order_id);
                    fields.read(name, Some(text), cells::id);
                }
                Column::CustomerId => {
                    *customer_id = fields.read(name, Some(text), cells::id).unwrap_or_default();
                }
                Column::StorageUntil => {
                    *storage_until = fields.read(name, Some(text), deadline_in_file);
                }
                Column::WeightGrams => *weight_grams = fields.read(name, Some(text), integer),
                Column::Weight => {
                    let parse = |text: &str| cells::amount(text, delimiter, weight);
                    *weight_grams = fields.read(name, Some(text), parse);
                }
                Column::PriceMinor => *price_minor = fields.read(name, Some(text), integer),
                Column::Price => {
                    let parse = |text: &str| cells::amount(text, delimiter, price);
                    *price_minor = fields.read(name, Some(text), parse);
                }
                Column::Packaging => *packaging = packaging_codes(text),
                Column::PickupPointId => *pickup_point_id = fields.read(name, Some(text), cells::id),
                Column::RequestId => *request_id = optional(text),
            }
        }
        match fields.finish() {
            Ok(()) => Ok(request),
            Err(failure) => Err(BadRow::refused(request.order_id, &failure)),
        }
    }
}

/// Returns the delimiter that the line `sep=;` of Excel names, or why it cannot
/// be one; `None` for any other line.
fn named_delimiter(line: &str) -> Option<Result<char, String>> {
    let name =
        line.get(..4).filter(|start| start.eq_ignore_ascii_case("sep=")).map(|start| &line[start.len()..])?;
    let found = DELIMITERS.into_iter().find(|delimiter| name == delimiter.to_string());
    Some(
        found.ok_or_else(|| {
            format!("sep= must name a semicolon, a comma or a tab, not {}", cells::echo(name))
        }),
    )
}

/// Returns the delimiter that splits the header into the most known columns.
fn likely_delimiter(header: &str) -> char {
    let columns = |delimiter| match Splitter::new(delimiter).push(1, header) {
        Split::Complete(names) => {
            (names.iter().filter(|name| Column::of(name.trim()).is_some()).count(), names.len())
        }
        Split::Open | Split::TextAfterQuote(_) => (0, 0),
    };
    DELIMITERS.into_iter().max_by_key(|delimiter| columns(*delimiter)).unwrap_or(',')
}

/// Returns the columns that a header names.
fn columns(names: &[String]) -> Result<Vec<Option<Column>>, String> {
    let mut found = Vec::with_capacity(names.len());
    let mut unknown = Vec::new();
    for name in names {
        let name = name.trim();
        match Column::of(name) {
            Some(column) if found.contains(&Some(column)) => {
                return Err(format!("the header has the column {} twice", column.name()));
            }
            None if !name.is_empty() => unknown.push(cells::echo(name)),
            _ => {}
        }
        found.push(Column::of(name));
    }
    if !unknown.is_empty() {
        let more = if unknown.len() > MAX_UNKNOWN { ", …" } else { "" };
        unknown.truncate(MAX_UNKNOWN);
        return Err(format!(
            "the header has unknown columns: {}{more}; the first line must name the columns: {}",
            unknown.join(", "),
            columns_text()
        ));
    }
    let has = |column| found.contains(&Some(column));
    for (one, other) in [(Column::Weight, Column::WeightGrams), (Column::Price, Column::PriceMinor)] {
        if has(one) && has(other) {
            return Err(format!("the header has both {} and {}; remove one", one.name(), other.name()));
        }
    }
    if let Some(missing) = REQUIRED.into_iter().find(|column| !has(*column)) {
        return Err(format!("the header has no column {}", missing.name()));
    }
    while found.last() == Some(&None) {
        found.pop();
    }
    Ok(found)
}

fn columns_text() -> String {
    COLUMNS.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests;
