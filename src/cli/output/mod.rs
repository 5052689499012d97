//! Prints responses: as tables for people or as JSON for programs. Responses go
//! to standard output, everything else to standard error.

mod layout;
mod table;
mod terminal;
mod text;

pub(super) use layout::{fitting, table};
pub(super) use table::{Row, card, outbox_card};
pub(super) use terminal::terminal_width;
pub(super) use text::{counted, instant, number};

use std::io::{self, BufWriter, Stdout, Write as _};

use serde::Serialize;

use super::failure::{Failure, Stop};
use super::stderr;
use crate::proto::v1::Order;
use layout::Tables;

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A table or a list of fields.
    Table,
    /// The response message as indented JSON.
    Json,
    /// One JSON item per line.
    Ndjson,
}

impl Format {
    /// Returns the format with that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "table" => Some(Self::Table),
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// Standard output, buffered. Callers flush at the end, or after a line that
/// must be seen at once.
#[derive(Debug)]
pub(super) struct Out {
    stdout: BufWriter<Stdout>,
}

impl Out {
    pub(super) fn new() -> Self {
        Self { stdout: BufWriter::new(io::stdout()) }
    }

    /// Writes a text.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())
    }

    /// Writes a message as indented JSON.
    pub(super) fn json(&mut self, message: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.stdout, message)?;
        self.stdout.write_all(b"\n")
    }

    /// Writes a message as one line of JSON.
    pub(super) fn line(&mut self, message: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.stdout, message)?;
        self.stdout.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Prints a text and flushes.
pub(super) fn print_text(text: &str) -> io::Result<()> {
    let mut out = Out::new();
    out.text(text)?;
    out.flush()
}

/// Prints ids, one per line.
pub(super) fn print_ids<'i>(ids: impl Iterator<Item = &'i str>) -> io::Result<()> {
    let mut out = Out::new();
    for id in ids {
        out.text(id)?;
        out.text("\n")?;
    }
    out.flush()
}

/// Prints a response with orders: the ids only, or like [`print_response`].
pub(super) fn print_orders(
    format: Format,
    quiet: bool,
    message: &impl Serialize,
    orders: &[Order],
    text: impl FnOnce() -> String,
) -> io::Result<()> {
    if quiet {
        return print_ids(orders.iter().map(|order| order.order_id.as_str()));
    }
    print_response(format, message, orders, text)
}

/// Prints a response that is not a page: as text, as JSON, or its items as
/// NDJSON.
pub(super) fn print_response<T: Serialize>(
    format: Format,
    message: &impl Serialize,
    items: &[T],
    text: impl FnOnce() -> String,
) -> io::Result<()> {
    let mut out = Out::new();
    match format {
        Format::Table => out.text(&text())?,
        Format::Json => out.json(message)?,
        Format::Ndjson => items.iter().try_for_each(|item| out.line(item))?,
    }
    out.flush()
}

/// A response that is a page of a list.
pub(super) trait Page: Serialize {
    /// The type of the items.
    type Item: Serialize + Row;
    /// The option that selects the next page.
    const NEXT_OPTION: &'static str;
    /// The sentence for people if there are no items.
    const EMPTY: &'static str;

    /// Number of leading columns to omit.
    const SKIPPED_COLUMNS: usize = 0;

    /// Returns the items.
    fn items(&mut self) -> &mut Vec<Self::Item>;
    /// Returns the token of the next page; `None` at the end.
    fn next(&self) -> Option<String>;
}

/// Prints one page and the option for the next one, or all pages. With `id`, prints only the ids.
pub(super) async fn print_pages<P: Page>(
    format: Format,
    id: Option<fn(&P::Item) -> &str>,
    all: bool,
    first: String,
    fetch: impl AsyncFn(String) -> Result<P, Failure>,
) -> Result<(), Stop> {
    let mut out = Out::new();
    let mut merged: Vec<P::Item> = Vec::new();
    let mut page = fetch(first).await?;
    let mut tables = Tables::new(terminal_width(), P::SKIPPED_COLUMNS);
    let mut is_empty = true;
    let next = loop {
        let next = page.next();
        is_empty &= page.items().is_empty();
        match (id, format) {
            (Some(id), _) => page.items().iter().try_for_each(|item| out.text(&format!("{}\n", id(item))))?,
            (None, Format::Table) => out.text(&tables.part(page.items()))?,
            (None, Format::Json) => merged.append(page.items()),
            (None, Format::Ndjson) => page.items().iter().try_for_each(|item| out.line(item))?,
        }
        out.flush()?;
        match next {
            Some(next) if all => page = fetch(next).await?,
            next => break next,
        }
    };
    if id.is_none() && format == Format::Json {
        *page.items() = merged;
        out.json(&page)?;
        out.flush()?;
    }
    if is_empty {
        stderr::line(P::EMPTY);
    }
    if let Some(next) = next {
        stderr::line(format_args!("there may be more: {} {next}", P::NEXT_OPTION));
    }
    Ok(())
}
