//! The files of a journal: `events-00000001.jsonl`, `events-00000002.jsonl`, ….

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use crate::adapters::lock_file::LockFile;

/// The last file of a journal, which is appended to.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    file_size: u64,
    number: u64,
    file: File,
    /// The number of bytes that are synced. Bytes after them are from a failed
    /// write, and are cut off before the next one.
    synced: u64,
    /// True if the file may have bytes that are not synced.
    torn: bool,
    /// Held until the last write has completed.
    _lock: LockFile,
}

impl Files {
    pub(super) fn open(folder: &Path, file_size: u64, lock: LockFile) -> io::Result<Self> {
        let number = numbers(folder)?.last().copied().unwrap_or(1);
        let file = open(folder, number)?;
        let whole = whole_lines(&file)?;
        let folder = folder.to_owned();
        let mut files = Self { folder, file_size, number, file, synced: whole, torn: true, _lock: lock };
        files.mend()?;
        Ok(files)
    }

    /// Appends whole lines, durably.
    ///
    /// # Errors
    /// Returns the error of the file system. The next call or the next start cuts
    /// off what was written.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.mend()?;
        }
        if self.synced >= self.file_size {
            self.rotate()?;
        }
        self.torn = true;
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.torn = false;
        self.synced += lines.len() as u64;
        Ok(())
    }

    /// Cuts off bytes that are not synced. Opens the file again: after a failed sync
    /// the old handle does not report the error a second time.
    fn mend(&mut self) -> io::Result<()> {
        self.file = open(&self.folder, self.number)?;
        let length = self.file.metadata()?.len();
        if length > self.synced {
            let (file, bytes) = (self.number, length - self.synced);
            tracing::warn!(file, bytes, "cutting off an incomplete write at the end of the journal");
            self.file.set_len(self.synced)?;
        }
        self.file.seek(SeekFrom::Start(self.synced))?;
        self.file.sync_all()?;
        self.torn = false;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let file = open(&self.folder, self.number + 1)?;
        self.file = file;
        self.number += 1;
        self.synced = 0;
        Ok(())
    }
}

pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("events-{number:08}.jsonl"))
}

/// Opens a file for writing, and creates it durably if necessary.
fn open(folder: &Path, number: u64) -> io::Result<File> {
    let path = path(folder, number);
    let is_new = !path.exists();
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    if is_new {
        sync_folder(folder)?;
    }
    Ok(file)
}

/// Syncs a folder, which contains the names of its files.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Returns the numbers of the files, ascending.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in folder.read_dir()? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("events-")?.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns the number of bytes up to the end of the last valid line. Invalid lines
/// before it are included: acknowledged bytes are never cut off.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut read, mut whole) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(whole);
        }
        read += length as u64;
        if line.ends_with(b"\n") && serde_json::from_slice::<IgnoredAny>(&line).is_ok() {
            whole = read;
        }
    }
}
