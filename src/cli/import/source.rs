//! The source of rows: a file or standard input, read by a thread of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::Path;
use std::thread;

use tokio::sync::mpsc;

use super::csv::CsvRows;
use super::ndjson::NdjsonRows;
use super::row::{Format, ParsedRow, Row, RowLocation};
use crate::cli::failure::Failure;
use crate::cli::stderr;

/// Rows that are read ahead.
const READ_AHEAD: usize = 256;
/// Size of the read buffer, in bytes.
const BUFFER_SIZE: usize = 256 << 10;

type Input = Box<dyn BufRead + Send>;

/// An open file, with its format known and its header read.
pub(super) struct Source {
    name: String,
    parser: Parser,
    /// Size of the file in bytes; `None` for standard input and pipes.
    pub size: Option<u64>,
}

enum Parser {
    Csv(CsvRows<Input>),
    Ndjson(NdjsonRows<Input>),
}

impl Parser {
    fn next(&mut self) -> io::Result<Option<ParsedRow>> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Ndjson(rows) => rows.next(),
        }
    }
}

/// Opens a file, or standard input for `-`. Detects the format unless it is
/// given, and reads the header of a CSV file.
pub(super) fn open(path: &str, format: Option<Format>) -> Result<Source, Failure> {
    let name = if path == "-" { "standard input".to_owned() } else { path.to_owned() };
    let failed = |error: io::Error| Failure::usage(format!("cannot read {name}: {error}"));
    let (mut input, size): (Input, Option<u64>) = if path == "-" {
        if io::stdin().is_terminal() {
            stderr::line("reading standard input; press Ctrl-D to end it");
        }
        (Box::new(BufReader::with_capacity(BUFFER_SIZE, io::stdin())), None)
    } else {
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let size = metadata.is_file().then_some(metadata.len());
        (Box::new(BufReader::with_capacity(BUFFER_SIZE, file)), size)
    };
    let format = match format.or_else(|| by_extension(path)) {
        Some(format) => format,
        None => by_first_byte(&name, &mut input).map_err(failed)?,
    };
    let parser = match format {
        Format::Ndjson => Parser::Ndjson(NdjsonRows::new(input)),
        Format::Csv => match CsvRows::new(input).map_err(failed)? {
            Ok(rows) => Parser::Csv(rows),
            Err(bad) => return Err(Failure::of(bad.refusal)),
        },
    };
    Ok(Source { name, parser, size })
}

/// Returns the format that the file name suggests.
fn by_extension(path: &str) -> Option<Format> {
    let extension = Path::new(path).extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" | "json" => Some(Format::Ndjson),
        _ => None,
    }
}

/// Detects the format: a JSON object begins with a brace, a CSV header does not.
fn by_first_byte(name: &str, input: &mut Input) -> io::Result<Format> {
    let bytes = input.fill_buf()?;
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    let (format, format_name) =
        if text.starts_with(b"{") { (Format::Ndjson, "NDJSON") } else { (Format::Csv, "CSV") };
    stderr::line(format_args!(
        "reading {name} as {format_name}, judging by its first byte; use --format to override"
    ));
    Ok(format)
}

/// Starts a thread that reads the rows, at most [`READ_AHEAD`] ahead of the
/// receiver.
pub(super) fn spawn_reader(source: Source) -> mpsc::Receiver<Result<Row, Failure>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    thread::spawn(move || {
        let Source { name, mut parser, .. } = source;
        let mut index = 0;
        loop {
            let row = match parser.next() {
                Ok(None) => return,
                Ok(Some(ParsedRow { line, end, content })) => {
                    Ok(Row { location: RowLocation { index, line, end }, content })
                }
                Err(error) => Err(Failure::usage(format!("cannot read {name}: {error}"))),
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
