//! Tests of the SQLite store beyond its ports: its file, and damaged data.

mod damage;
mod file;
mod files_gone;
mod lock;
mod read_only_media;

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

/// Returns options without a lock timeout, so that tests of a locked file do not wait.
fn options() -> SqliteOptions {
    SqliteOptions { busy_timeout: Duration::ZERO, ..SqliteOptions::default() }
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, &options()).unwrap()
}

/// Opens a connection that bypasses the store, like a SQL shell.
fn shell(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

fn all() -> Page {
    Page { below: None, limit: 1_000 }
}
