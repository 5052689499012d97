//! What the SQLite store must do beyond the ports: live through its file.

mod damage;
mod file;

use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::{Connection as _, SqliteConnection};
use pvz::adapters::sqlite::{SqliteOptions, SqliteStore};
use pvz::ports::Page;
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    (folder, path)
}

/// Waits for no lock, so that a test of a locked file does not.
fn options() -> SqliteOptions {
    SqliteOptions { busy_timeout: Duration::ZERO, ..SqliteOptions::default() }
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, &options()).unwrap()
}

/// A connection past the store, as somebody with a SQL shell has it.
fn shell(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

fn all() -> Page {
    Page { below: None, limit: 1_000 }
}
