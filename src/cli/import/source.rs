//! The source of rows: a file or standard input, read by a thread of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal as _, Read as _};
use std::path::Path;
use std::thread;

use tokio::sync::mpsc;

use super::container;
use super::csv::CsvRows;
use super::encoding::Encoding;
use super::lines::InputLines;
use super::ndjson::NdjsonRows;
use super::row::{FileFault, Format, ParsedRow, Row, RowLocation};
use crate::cli::escape::plain;
use crate::cli::failure::Failure;
use crate::cli::stderr;

/// Rows that are read ahead.
const READ_AHEAD: usize = 256;
/// Size of the read buffer, in bytes.
const BUFFER_SIZE: usize = 256 << 10;
/// Bytes that are read before anything is known about a file. Every file with an
/// order has more.
const SHORTEST_START: u64 = 8;

/// An open file, with its format known and its header read.
pub(super) struct Source {
    /// Name of the file, for messages.
    pub name: String,
    rows: Rows,
    /// Size of the file in bytes; `None` for standard input and pipes.
    pub size: Option<u64>,
}

impl Source {
    /// Returns the names of the columns; empty for NDJSON.
    pub(super) fn columns(&self) -> Vec<&'static str> {
        match &self.rows {
            Rows::Csv(rows) => rows.columns(),
            Rows::Ndjson(_) => Vec::new(),
        }
    }
}

/// The rows of a file.
pub(super) enum Rows {
    Csv(CsvRows<Box<dyn BufRead + Send>>),
    Ndjson(NdjsonRows<Box<dyn BufRead + Send>>),
}

impl Rows {
    /// Reads the beginning of a file. Detects the encoding and the format unless
    /// they are given, and reads the header of CSV.
    ///
    /// # Errors
    /// The file cannot be read, or is not what an import reads.
    pub(super) fn new(
        mut input: impl BufRead + Send + 'static,
        format: Option<Format>,
        encoding: Encoding,
    ) -> Result<Self, FileFault> {
        // No more than necessary, so that rows from a pipe are sent as they come.
        let mut start = Vec::new();
        input.by_ref().take(SHORTEST_START).read_to_end(&mut start)?;
        if start.starts_with(b"PK") {
            input.by_ref().take(container::START).read_to_end(&mut start)?;
        }
        if let Some((kind, advice)) = container::recognize(&start) {
            let message = format!("this is {kind}, not CSV or NDJSON; {advice}");
            return Err(FileFault::Content { line: None, message });
        }
        let encoding = match (encoding, Encoding::by_mark(&start)) {
            (Encoding::Auto, None) => Encoding::by_zeros(&start),
            (Encoding::Auto, Some(marked)) => marked,
            (given, Some(marked)) if given != marked => {
                let (given, marked) = (given.name(), marked.name());
                let message = format!("the file begins with the byte-order mark of {marked}, not {given}");
                return Err(FileFault::Content { line: None, message });
            }
            (given, _) => given,
        };
        let input: Box<dyn BufRead + Send> = Box::new(Cursor::new(start).chain(input));
        let mut lines = InputLines::new(input, encoding);
        let format = match format {
            Some(format) => format,
            None => by_first_line(&mut lines)?,
        };
        Ok(match format {
            Format::Csv => Self::Csv(CsvRows::new(lines)?),
            Format::Ndjson => Self::Ndjson(NdjsonRows::new(lines)?),
        })
    }

    /// Returns the next row.
    pub(super) fn next(&mut self) -> io::Result<Option<ParsedRow>> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Ndjson(rows) => rows.next(),
        }
    }

    fn format_name(&self) -> &'static str {
        match self {
            Self::Csv(_) => "CSV",
            Self::Ndjson(_) => "NDJSON",
        }
    }
}

/// Detects the format: JSON begins with a brace or bracket, a CSV header does not.
fn by_first_line<R: BufRead>(lines: &mut InputLines<R>) -> io::Result<Format> {
    let Some(first) = lines.next_filled()? else { return Ok(Format::Csv) };
    let text = first.text.as_deref().unwrap_or_default().trim_start();
    let format = if text.starts_with(['{', '[']) { Format::Ndjson } else { Format::Csv };
    lines.unread(first);
    Ok(format)
}

/// Opens a file, or standard input for `-`.
pub(super) fn open(path: &str, format: Option<Format>, encoding: Encoding) -> Result<Source, Failure> {
    let name = if path == "-" { "standard input".to_owned() } else { plain(path).into_owned() };
    let format = format.or_else(|| by_extension(path));
    let (rows, size) = if path == "-" {
        if io::stdin().is_terminal() {
            stderr::line("reading standard input; press Ctrl-D to end it");
        }
        (Rows::new(BufReader::with_capacity(BUFFER_SIZE, io::stdin()), format, encoding), None)
    } else {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|error| unreadable(&name, &error))?;
        let size = metadata.is_file().then_some(metadata.len());
        (Rows::new(BufReader::with_capacity(BUFFER_SIZE, file), format, encoding), size)
    };
    let rows = rows.map_err(|fault| match fault {
        FileFault::Io(error) => unreadable(&name, &error),
        FileFault::Content { line, message } => {
            let message = message.replace("FILE", shell_word(path).unwrap_or("FILE"));
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            Failure::usage(format!("{name}{line}: {message}"))
        }
    })?;
    if format.is_none() {
        let format = rows.format_name();
        stderr::line(format_args!(
            "reading {name} as {format}, judging by its first line; use --format to override"
        ));
    }
    Ok(Source { name, rows, size })
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read {name}: {error}"))
}

/// Returns a path that a shell takes as one word without quotes.
fn shell_word(path: &str) -> Option<&str> {
    let harmless = |character: char| character.is_ascii_alphanumeric() || "./_+,:@%".contains(character);
    let word = path.chars().all(|character| harmless(character) || character == '-');
    Some(path).filter(|path| word && path.starts_with(harmless))
}

/// Returns the format that the file name suggests.
fn by_extension(path: &str) -> Option<Format> {
    let extension = Path::new(path).extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "csv" | "tsv" => Some(Format::Csv),
        "ndjson" | "jsonl" | "json" => Some(Format::Ndjson),
        _ => None,
    }
}

/// Starts a thread that reads the rows, at most [`READ_AHEAD`] ahead of the
/// receiver.
pub(super) fn spawn_reader(source: Source) -> mpsc::Receiver<Result<Row, Failure>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    thread::spawn(move || {
        let Source { name, mut rows, .. } = source;
        let mut index = 0;
        loop {
            let row = match rows.next() {
                Ok(None) => return,
                Ok(Some(ParsedRow { line, end, content })) => {
                    Ok(Row { location: RowLocation { index, line, end }, content })
                }
                Err(error) => Err(unreadable(&name, &error)),
            };
            index += 1;
            let is_last = row.is_err();
            if sender.blocking_send(row).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}
