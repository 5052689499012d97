//! The end of a journal: its last event.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::files;
use crate::adapters::rows::{Format, read_event};
use crate::domain::Event;

/// The number of bytes read from the end of each file. An event is far shorter.
const READ: u64 = 1 << 20;

/// Returns the event in the last complete line that has one; `None` if no line has one.
pub(super) fn last_event(folder: &Path) -> io::Result<Option<Event>> {
    for number in files::numbers(folder)?.into_iter().rev() {
        if let Some(event) = last_event_of_file(&files::path(folder, number))? {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

fn last_event_of_file(path: &Path) -> io::Result<Option<Event>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    // The bytes after the last line end are an incomplete line.
    let mut lines = bytes.rsplit(|byte| *byte == b'\n').skip(1);
    Ok(lines.find_map(|line| read_event(line, Format::Json, None).ok()))
}
