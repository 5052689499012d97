//! Warns of data files that every user of the machine can read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::migrate_command::quoted;
use crate::config::{Config, EventsUrl, StoreUrl};

/// The permission bits of users who are neither the owner nor of the group.
const READ_OR_WRITE: u32 = 0o006;
const ENTER: u32 = 0o001;

/// Warns of existing files of the stores and of the journal that every user of the machine can read
/// or write. They stay as they are: the permissions may be on purpose, and new files are private.
pub(super) fn warn_of_exposed_files(config: &Config) {
    for store in [&config.store.url, &config.consumer.store] {
        if let StoreUrl::Sqlite(path) = store
            && is_exposed(path)
        {
            warn(path, &format!("chmod o= {}*", quoted(&path.to_string_lossy())));
        }
    }
    if let EventsUrl::Journal(folder) = &config.events.url {
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        if let Some(path) = files.into_iter().find(|path| is_exposed(path)) {
            warn(&path, &format!("chmod -R o= {}", quoted(&folder.to_string_lossy())));
        }
    }
}

fn warn(path: &Path, command: &str) {
    let path = path.display();
    tracing::warn!(%path, command, "every user of this machine can read or change the data; run the command");
}

/// Returns true if every user can open the file: its own mode and those of all folders allow it.
fn is_exposed(path: &Path) -> bool {
    let allows = |path: &Path, bits: u32| {
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & bits != 0)
    };
    let Ok(path): Result<PathBuf, _> = fs::canonicalize(path) else { return false };
    path.is_file()
        && allows(&path, READ_OR_WRITE)
        && path.ancestors().skip(1).all(|folder| allows(folder, ENTER))
}
