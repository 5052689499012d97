//! The source that reads events from the files of a journal. It has one partition,
//! whose offsets consist of the number of a file and a byte position in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::spawn_blocking;

use super::files;
use crate::adapters::rows::{Format, Unread, read_event};
use crate::ports::{
    EventSource, Fetched, Offset, PortError, RecordContent, SourceRecord, Start, UndecodedRecord,
};

/// The low bits of an offset, which are the byte position: up to 1 TiB.
const BYTE_BITS: u32 = 40;
/// The file of dead letters: lines that are not events.
const DEAD_LETTERS: &str = "dead-letters.jsonl";

/// An [`EventSource`] that reads the folder of a [`Journal`](super::Journal), also
/// while that is written. A folder that does not exist has no partition.
#[derive(Debug, Clone)]
pub struct JournalSource {
    name: String,
    folder: PathBuf,
}

/// The number of a file, and a byte position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FilePosition {
    file: u64,
    byte: u64,
}

impl FilePosition {
    fn of(offset: Offset) -> Self {
        let bits = u64::try_from(offset.0).unwrap_or_default();
        Self { file: bits >> BYTE_BITS, byte: bits & ((1 << BYTE_BITS) - 1) }
    }

    fn offset(self) -> Offset {
        Offset(i64::try_from((self.file << BYTE_BITS) | self.byte).unwrap_or(i64::MAX))
    }
}

impl JournalSource {
    /// Creates a source of a folder, which need not exist.
    pub fn new(folder: &Path) -> Self {
        Self { name: format!("journal:{}", folder.display()), folder: folder.to_owned() }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let folder = self.folder.clone();
        let done = spawn_blocking(move || work(&folder)).await;
        let failed = |error| PortError::unavailable("the journal cannot be read", error);
        done.map_err(|error| failed(Box::<dyn std::error::Error + Send + Sync>::from(error)))?
            .map_err(|error| failed(error.into()))
    }
}

/// Returns the numbers of the files, ascending; none if the folder does not exist.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    match files::numbers(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn length(folder: &Path, file: u64) -> io::Result<u64> {
    Ok(files::path(folder, file).metadata()?.len())
}

/// Returns the position of the next line to be written.
fn end(folder: &Path) -> io::Result<FilePosition> {
    match numbers(folder)?.last() {
        Some(file) => Ok(FilePosition { file: *file, byte: length(folder, *file)? }),
        None => Ok(FilePosition { file: 1, byte: 0 }),
    }
}

/// Returns the position of the oldest retained line.
fn oldest(folder: &Path) -> io::Result<FilePosition> {
    Ok(FilePosition { file: numbers(folder)?.first().copied().unwrap_or(1), byte: 0 })
}

/// Reads complete lines. An incomplete one is being written, or a crash left it and
/// the sink will cut it off.
fn fetch(folder: &Path, from: Offset, limit: usize) -> io::Result<Fetched> {
    let end = end(folder)?;
    let mut at = FilePosition::of(from).max(oldest(folder)?);
    // The journal was replaced by one that is shorter.
    if at > end {
        at = oldest(folder)?;
    }
    let first = at.offset();
    let mut records = Vec::new();
    while records.len() < limit && at < end {
        let path = files::path(folder, at.file);
        if path.exists() {
            read_file(&path, &mut at, limit, &mut records)?;
        }
        // A file that is followed by another one is complete.
        if records.len() < limit && at.file < end.file {
            at = FilePosition { file: at.file + 1, byte: 0 };
        } else {
            break;
        }
    }
    Ok(Fetched { first, records, next: at.offset(), end: end.offset() })
}

fn read_file(
    path: &Path,
    at: &mut FilePosition,
    limit: usize,
    records: &mut Vec<SourceRecord>,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at.byte))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    while records.len() < limit {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            break;
        }
        let offset = at.offset();
        at.byte += length as u64;
        line.pop();
        let record = UndecodedRecord {
            offset,
            cause: String::new(),
            key: None,
            value: Some(line.clone()),
            headers: BTreeMap::new(),
        };
        records.push(SourceRecord { offset, content: content(record) });
    }
    Ok(())
}

/// Decodes a line.
fn content(record: UndecodedRecord) -> RecordContent {
    match read_event(record.value.as_deref().unwrap_or_default(), Format::Json, None) {
        Ok(event) => RecordContent::Event(Box::new(event)),
        Err(Unread::Unknown(cause)) => RecordContent::Unknown(UndecodedRecord { cause, ..record }),
        Err(Unread::Undecodable(cause)) => RecordContent::Undecodable(UndecodedRecord { cause, ..record }),
    }
}

/// Returns the position of the first event at or after an instant, or the end.
fn first_since(folder: &Path, start: crate::domain::Timestamp) -> io::Result<FilePosition> {
    let mut next = oldest(folder)?.offset();
    loop {
        let fetched = fetch(folder, next, 1_000)?;
        for record in &fetched.records {
            if let RecordContent::Event(event) = &record.content
                && event.occurred_at >= start
            {
                return Ok(FilePosition::of(record.offset));
            }
        }
        if fetched.records.is_empty() {
            return end(folder);
        }
        next = fetched.next;
    }
}

#[derive(serde::Serialize)]
struct DeadLetterLine<'a> {
    cause: &'a str,
    offset: String,
    value: String,
}

fn write_dead_letters(folder: &Path, records: &[UndecodedRecord]) -> io::Result<()> {
    let mut lines = Vec::new();
    for record in records {
        let value = STANDARD.encode(record.value.as_deref().unwrap_or_default());
        let line = DeadLetterLine { cause: &record.cause, offset: record.offset.0.to_string(), value };
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    let mut file = File::options().create(true).append(true).open(folder.join(DEAD_LETTERS))?;
    file.write_all(&lines)?;
    file.sync_data()
}

#[async_trait]
impl EventSource for JournalSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        self.name.clone()
    }

    async fn partitions(&self) -> Result<Vec<u32>, PortError> {
        self.blocking(|folder| Ok(if folder.try_exists()? { vec![0] } else { Vec::new() })).await
    }

    async fn begin(&self, _: u32, start: Start) -> Result<Offset, PortError> {
        let position = self.blocking(move |folder| match start {
            Start::Earliest => oldest(folder),
            Start::Latest => end(folder),
            Start::At(instant) => first_since(folder, instant),
        });
        Ok(position.await?.offset())
    }

    async fn fetch(&self, _: u32, from: Offset, limit: usize) -> Result<Fetched, PortError> {
        self.blocking(move |folder| fetch(folder, from, limit)).await
    }

    fn decode(&self, record: UndecodedRecord) -> RecordContent {
        content(record)
    }

    async fn write_dead_letters(&self, _: u32, records: &[UndecodedRecord]) -> Result<(), PortError> {
        let records = records.to_vec();
        self.blocking(move |folder| write_dead_letters(folder, &records)).await
    }
}
