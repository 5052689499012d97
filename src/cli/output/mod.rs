//! How answers are printed: tables for people, JSON for programs. Answers go
//! to standard output, everything else to standard error.

mod table;
mod text;

pub(super) use table::{Row, card, outbox_card, table};

pub(super) use text::number;

use std::io::{self, BufWriter, Stdout, Write as _};

use serde::Serialize;

use super::client::{Failure, Stop};
use table::part_of_table;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Table,
    /// The answer's message, indented.
    Json,
    /// One item a line.
    Ndjson,
}

impl Format {
    /// The format with that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "table" => Some(Self::Table),
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// Standard output, buffered: flushed at the end, or when somebody waits for a
/// line.
#[derive(Debug)]
pub(super) struct Out {
    stdout: BufWriter<Stdout>,
}

impl Out {
    pub(super) fn new() -> Self {
        Self { stdout: BufWriter::new(io::stdout()) }
    }

    /// A text as it is.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())
    }

    /// A message, indented.
    pub(super) fn json(&mut self, message: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.stdout, message)?;
        self.stdout.write_all(b"\n")
    }

    /// A message on one line.
    pub(super) fn line(&mut self, message: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.stdout, message)?;
        self.stdout.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Prints a text and nothing else.
pub(super) fn print_text(text: &str) -> io::Result<()> {
    let mut out = Out::new();
    out.text(text)?;
    out.flush()
}

/// Prints an answer that is not a page: the message, or its items, or as a
/// text for people.
pub(super) fn print_answer<T: Serialize>(
    format: Format,
    message: &impl Serialize,
    items: &[T],
    people: impl FnOnce() -> String,
) -> io::Result<()> {
    let mut out = Out::new();
    match format {
        Format::Table => out.text(&people())?,
        Format::Json => out.json(message)?,
        Format::Ndjson => items.iter().try_for_each(|item| out.line(item))?,
    }
    out.flush()
}

/// An answer that is a page of a list.
pub(super) trait Page: Serialize {
    /// What is listed.
    type Item: Serialize + Row;
    /// The option that goes on from this page.
    const NEXT_OPTION: &'static str;

    /// How many of the first columns say nothing here.
    const SKIPPED_COLUMNS: usize = 0;

    /// What the page holds.
    fn items(&mut self) -> &mut Vec<Self::Item>;
    /// Where the list goes on; `None` at the end.
    fn next(&self) -> Option<String>;
}

/// Prints one page and where the list goes on, or all pages.
pub(super) async fn print_pages<P: Page>(
    format: Format,
    all: bool,
    first: String,
    fetch: impl AsyncFn(String) -> Result<P, Failure>,
) -> Result<(), Stop> {
    let mut out = Out::new();
    let mut merged: Vec<P::Item> = Vec::new();
    let mut page = fetch(first).await?;
    let mut first_page = true;
    let next = loop {
        let next = page.next();
        match format {
            Format::Table => {
                if first_page || !page.items().is_empty() {
                    out.text(&part_of_table(page.items(), first_page, P::SKIPPED_COLUMNS))?;
                }
            }
            Format::Json => merged.append(page.items()),
            Format::Ndjson => page.items().iter().try_for_each(|item| out.line(item))?,
        }
        out.flush()?;
        first_page = false;
        match next {
            Some(next) if all => page = fetch(next).await?,
            next => break next,
        }
    };
    if format == Format::Json {
        *page.items() = merged;
        out.json(&page)?;
        out.flush()?;
    }
    if let Some(next) = next {
        anstream::eprintln!("there may be more: {} {next}", P::NEXT_OPTION);
    }
    Ok(())
}
