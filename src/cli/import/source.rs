//! Where rows come from: a file or standard input, read by a thread of its
//! own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::Path;
use std::thread;

use tokio::sync::mpsc;

use super::csv::CsvRows;
use super::ndjson::NdjsonRows;
use super::row::{BadRow, Format, Row, RowLocation};
use crate::cli::client::Failure;
use crate::proto::v1::AcceptOrderRequest;

/// How many rows are read ahead.
const READ_AHEAD: usize = 256;
/// How much of the file is read at once, in bytes.
const BUFFER: usize = 256 << 10;

/// The line a row begins on, where it ends in the file, and what it says.
pub(super) type RawRow = (u64, u64, Result<AcceptOrderRequest, BadRow>);

type Input = Box<dyn BufRead + Send>;

/// An open file.
pub(super) struct Source {
    name: String,
    rows: Rows,
    /// Its size in bytes, if it has one.
    pub size: Option<u64>,
}

enum Rows {
    Csv(CsvRows<Input>),
    Ndjson(NdjsonRows<Input>),
}

impl Rows {
    fn next(&mut self) -> io::Result<Option<RawRow>> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Ndjson(rows) => rows.next(),
        }
    }
}

/// Opens a file, `-` for standard input, finds out its format and reads the
/// header of a CSV.
pub(super) fn open(path: &str, format: Option<Format>) -> Result<Source, Failure> {
    let name = if path == "-" { "standard input".to_owned() } else { path.to_owned() };
    let broken = |error: io::Error| Failure::usage(format!("cannot read {name}: {error}"));
    let (mut input, size): (Input, Option<u64>) = if path == "-" {
        if io::stdin().is_terminal() {
            anstream::eprintln!("reading standard input; Ctrl-D ends it");
        }
        (Box::new(BufReader::with_capacity(BUFFER, io::stdin())), None)
    } else {
        let file = File::open(path).map_err(broken)?;
        let about = file.metadata().map_err(broken)?;
        let size = about.is_file().then_some(about.len());
        (Box::new(BufReader::with_capacity(BUFFER, file)), size)
    };
    let format = match format.or_else(|| by_extension(path)) {
        Some(format) => format,
        None => by_first_byte(&name, &mut input).map_err(broken)?,
    };
    let rows = match format {
        Format::Ndjson => Rows::Ndjson(NdjsonRows::new(input)),
        Format::Csv => match CsvRows::new(input).map_err(broken)? {
            Ok(rows) => Rows::Csv(rows),
            Err(bad) => return Err(Failure::of(bad.refusal)),
        },
    };
    Ok(Source { name, rows, size })
}

fn by_extension(path: &str) -> Option<Format> {
    let extension = Path::new(path).extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" | "json" => Some(Format::Ndjson),
        _ => None,
    }
}

/// An object begins with a brace, a header does not.
fn by_first_byte(name: &str, input: &mut Input) -> io::Result<Format> {
    let bytes = input.fill_buf()?;
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    let (format, called) =
        if text.starts_with(b"{") { (Format::Ndjson, "NDJSON") } else { (Format::Csv, "CSV") };
    anstream::eprintln!("reading {name} as {called}, by its first byte; --format says otherwise");
    Ok(format)
}

/// Reads the rows in a thread of its own, no further ahead than they are
/// taken.
pub(super) fn read(source: Source) -> mpsc::Receiver<Result<Row, Failure>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    thread::spawn(move || {
        let Source { name, mut rows, .. } = source;
        let mut index = 0;
        loop {
            let row = match rows.next() {
                Ok(None) => return,
                Ok(Some((line, end, content))) => {
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
