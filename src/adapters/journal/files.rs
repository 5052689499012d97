//! The files: `events-00000001.jsonl` and so on, in the order of their numbers.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use crate::adapters::lock_file::LockFile;

/// The file that is appended to.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    file_size: u64,
    number: u64,
    file: File,
    /// How much of the file is synced. What lies behind is of a write that
    /// failed, and is cut off before the next.
    synced: u64,
    /// Whether a write may have left something behind that.
    torn: bool,
    /// Held until the last write has ended.
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
    /// Nothing of them stays, once the next call or the next start has cut it
    /// off.
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

    /// Cuts off what is not synced. The file is opened anew: after a failed
    /// sync nobody knows what the old handle still promises.
    fn mend(&mut self) -> io::Result<()> {
        self.file = open(&self.folder, self.number)?;
        let length = self.file.metadata()?.len();
        if length > self.synced {
            let (file, bytes) = (self.number, length - self.synced);
            tracing::warn!(file, bytes, "an unfinished write at the end of the journal is cut off");
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

/// Opens a file for writing at its end, or makes it, in a way that survives a
/// power cut.
fn open(folder: &Path, number: u64) -> io::Result<File> {
    let path = path(folder, number);
    let is_new = !path.exists();
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    if is_new {
        sync_folder(folder)?;
    }
    Ok(file)
}

/// A file's name is kept in its folder.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The numbers of the files, ascending.
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

/// How much of a file there is up to the end of its last whole line. Broken
/// lines before it stay: what was acknowledged is never cut off.
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
