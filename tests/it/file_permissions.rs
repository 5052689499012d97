//! The permissions of data files, whatever the umask of the caller is.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::process::{Server, eventually, pvz};

/// Returns the permission bits of a file or folder.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Returns the modes of a folder and of everything in it, by name.
fn modes(folder: &Path) -> BTreeMap<String, u32> {
    let mut modes =
        BTreeMap::from([(folder.file_name().unwrap().to_str().unwrap().to_owned(), mode(folder))]);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            modes.extend(self::modes(&path));
        } else {
            modes.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), mode(&path));
        }
    }
    modes
}

/// Returns a command that runs pvz with a umask that allows everything.
fn open_umask(data: &Path, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    let program = pvz().get_program().to_str().unwrap().to_owned();
    let listen = "--grpc-addr=127.0.0.1:0 --http-addr=127.0.0.1:0 --admin-addr=127.0.0.1:0";
    command.args([
        "-c",
        &format!("umask 000; exec '{program}' {arguments} {listen} --data-dir='{}'", data.display()),
    ]);
    command
}

#[test]
fn data_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = open_umask(&data, "serve").spawn().unwrap();
    eventually("the server has its files", || data.join("events/events-00000001.jsonl").exists());
    eventually("the server is in its own folder", || data.join("pvz.db-shm").exists());
    let found = modes(&data);
    server.kill().unwrap();
    server.wait().unwrap();
    for name in ["pvz.db", "pvz.db-wal", "pvz.db-shm", "pvz.db.lock", "journal.lock", "events-00000001.jsonl"]
    {
        assert_eq!(found.get(name), Some(&0o600), "{name}: {found:?}");
    }
    assert_eq!((found["data"], found["events"]), (0o700, 0o700));
    let consumed = open_umask(&data, "consume --once").output().unwrap();
    assert_eq!(consumed.status.code(), Some(0), "{consumed:?}");
    assert_eq!(mode(&data.join("consumer.db")), 0o600);
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let migrated = open_umask(&other, "migrate").output().unwrap();
    assert_eq!(migrated.status.code(), Some(0), "{migrated:?}");
    assert_eq!(mode(&other.join("pvz.db")), 0o600);
}

#[test]
fn existing_files_that_everybody_can_read_cause_a_warning_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    Server::start(folder.path()).stop();
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let (store, journal) = (folder.path().join("pvz.db"), folder.path().join("events"));
    let warnings = || {
        let data = format!("--data-dir={}", folder.path().display());
        let output = pvz().args(["consume", "--once", "--admin-addr=127.0.0.1:0", &data]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let log = String::from_utf8(output.stderr).unwrap();
        let warned = log.lines().filter(|line| line.contains("every user of this machine"));
        warned.map(str::to_owned).collect::<Vec<_>>()
    };
    set(&store, 0o644);
    set(folder.path(), 0o700);
    assert_eq!(warnings(), Vec::<String>::new(), "nobody else can enter the folder");
    set(folder.path(), 0o755);
    let warned = warnings();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains(&format!("chmod o= {}*", store.display())), "{warned:?}");
    assert_eq!(mode(&store), 0o644);
    set(&journal, 0o755);
    set(&journal.join("events-00000001.jsonl"), 0o644);
    assert_eq!(warnings().len(), 2);
    set(&store, 0o640);
    set(&journal, 0o750);
    assert_eq!(warnings(), Vec::<String>::new(), "a group may read the data");
}
