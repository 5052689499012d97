//! The files of a journal: `events-00000001.jsonl`, `events-00000002.jsonl`, ….

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use crate::adapters::file_identity::{FileChange, FileIdentity};
use crate::adapters::lock_file::LockFile;

/// The files of a journal. New lines are appended to the last one.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    file_size: u64,
    last: LastFile,
    /// The length of the lines of a failed write. Any part of them may follow the synced lines.
    failed: u64,
    /// Held until the last write has completed.
    _lock: LockFile,
}

/// The last file, to which lines are appended.
#[derive(Debug)]
struct LastFile {
    number: u64,
    path: PathBuf,
    file: File,
    identity: FileIdentity,
    /// The length of the synced lines. If the file is shorter, it has lost events.
    synced: u64,
}

impl Files {
    pub(super) fn open(folder: &Path, file_size: u64, lock: LockFile) -> io::Result<Self> {
        let number = numbers(folder)?.last().copied().unwrap_or(1);
        let last = LastFile::open(folder, number)?;
        Ok(Self { folder: folder.to_owned(), file_size, last, failed: 0, _lock: lock })
    }

    /// Checks that the path leads to the open file and that the file has every synced line.
    pub(super) fn check(&self) -> Result<(), FileChange> {
        self.last.check(self.last.synced)?;
        Ok(())
    }

    /// Appends whole lines, durably.
    ///
    /// # Errors
    /// Returns an error if the path does not lead to the open file, or the file has lost lines or
    /// cannot be written. Then any part of the lines may be in the file until the next call or
    /// start.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = self.last.check(self.last.synced).map_err(io::Error::other)?;
        if self.failed > 0 || length > self.last.synced {
            self.mend(length)?;
        }
        if self.last.synced >= self.file_size {
            self.last = LastFile::open(&self.folder, self.last.number + 1)?;
        }
        self.failed = lines.len() as u64;
        self.last.file.write_all(lines)?;
        self.last.file.sync_data()?;
        let end = self.last.synced + self.failed;
        // Checked again, because the file may have been moved or truncated during the write.
        let length = self.last.check(end).map_err(io::Error::other)?;
        self.failed = 0;
        // Otherwise another program has appended, and the next call searches for the end of the
        // last line.
        if length == end {
            self.last.synced = end;
        }
        Ok(())
    }

    /// Truncates the remains of a failed write and an incomplete line of another program. Reopens
    /// the file, because after a failed sync the old handle does not report the error again.
    fn mend(&mut self, length: u64) -> io::Result<()> {
        let last = &mut self.last;
        last.file = File::options().append(true).read(true).open(&last.path)?;
        // Complete lines of another program stay.
        if length > last.synced + self.failed {
            last.synced = whole_lines(&last.file, last.synced)?;
        }
        cut_off(&last.file, last.number, last.synced)?;
        self.failed = 0;
        Ok(())
    }
}

impl LastFile {
    /// Opens a file, creates it durably if necessary, and truncates it after its last complete
    /// line.
    fn open(folder: &Path, number: u64) -> io::Result<Self> {
        let path = path(folder, number);
        let file = File::options().create(true).append(true).read(true).open(&path)?;
        // Also if the file exists, because an earlier call may have failed after it created the
        // file.
        sync_folder(folder)?;
        let synced = whole_lines(&file, 0)?;
        cut_off(&file, number, synced)?;
        let identity = FileIdentity::of(&file.metadata()?);
        Ok(Self { number, path, file, identity, synced })
    }

    /// Checks that the path leads to the open file and that the file has at least the needed
    /// length. Returns the length of the file.
    fn check(&self, needed: u64) -> Result<u64, FileChange> {
        let length = self.identity.check(&self.path)?;
        if length < needed {
            return Err(FileChange::Truncated { path: self.path.clone(), length, needed });
        }
        Ok(length)
    }
}

pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("events-{number:08}.jsonl"))
}

/// Truncates a file and syncs it. Only the end of an incomplete write can make the file longer.
fn cut_off(file: &File, number: u64, end: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length > end {
        let bytes = length - end;
        tracing::warn!(file = number, bytes, "cutting off an incomplete write at the end of the journal");
        file.set_len(end)?;
    }
    file.sync_all()
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

/// Returns the length of a file up to the end of its last valid line. The first `from` bytes are
/// complete lines. Invalid lines before a valid one are included, because acknowledged bytes are
/// never truncated.
fn whole_lines(mut file: &File, from: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut read, mut whole) = (from, from);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_of_a_failed_write_are_written_again() {
        let lines = b"{\"batch\":2}\n{\"batch\":2}\n";
        for left in 0..lines.len() {
            let folder = tempfile::tempdir().unwrap();
            let lock = LockFile::take(&folder.path().join("lock")).unwrap().unwrap();
            let mut files = Files::open(folder.path(), 1 << 20, lock).unwrap();
            files.append(b"{\"batch\":1}\n").unwrap();
            files.failed = lines.len() as u64;
            files.last.file.write_all(&lines[..left]).unwrap();
            files.append(lines).unwrap();
            let text = fs::read(path(folder.path(), 1)).unwrap();
            assert_eq!(text, [b"{\"batch\":1}\n".as_slice(), lines].concat(), "{left} bytes were left");
        }
    }
}
