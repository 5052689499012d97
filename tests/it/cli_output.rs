//! Standard output and standard error that cannot be written: a full disk, a
//! closed pipe.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use pvz::proto::v1::{ListOrdersResponse, Order};

use crate::cli_server::{CommandOutput, Script, ScriptedServer};

const UNTIL: &str = "2026-12-31T10:00:00Z";

/// Returns a file that is always full.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// Returns the writing end of a pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Returns a command without the `PVZ_` variables of the environment.
fn pvz(arguments: &[&str]) -> Command {
    let mut command = crate::process::pvz();
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(command: &mut Command) -> CommandOutput {
    CommandOutput::from(command.spawn().unwrap().wait_with_output().unwrap())
}

/// Returns a file of orders after a bad row.
fn day(rows: usize) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.csv").to_str().unwrap().to_owned();
    let rows: String = (1..=rows).flat_map(|id| [id.to_string(), format!(",7,{UNTIL}\n")]).collect();
    fs::write(&path, format!("order_id,customer_id,storage_until\nbad,7,tomorrow\n{rows}")).unwrap();
    (folder, path)
}

#[test]
fn an_import_goes_on_without_standard_error() {
    const ROWS: usize = 3_000;
    let (_folder, path) = day(ROWS);
    for stderr in [full, closed_pipe] {
        let script = Script::default();
        let server = ScriptedServer::start(&script);
        let output = finish(server.pvz(&["import", &path]).stderr(stderr()));
        assert_eq!(output.exit, Some(4));
        assert_eq!(script.calls().len(), ROWS);
        assert!(output.stdout.contains("accepted             3,000\n"), "{}", output.stdout);
    }
}

#[test]
fn an_import_goes_on_without_standard_output() {
    const ROWS: usize = 3_000;
    let (_folder, path) = day(ROWS);
    for stdout in [full, closed_pipe] {
        for format in ["table", "json", "ndjson"] {
            let script = Script::default();
            let server = ScriptedServer::start(&script);
            let output = finish(server.pvz(&["import", &path, "--output", format]).stdout(stdout()));
            assert_eq!(output.exit, Some(1), "{format}");
            assert_eq!(script.calls().len(), ROWS, "{format}");
            assert!(output.stderr.contains("accepted             3,000\n"), "{}", output.stderr);
            let error = "cannot write the results to standard output: ";
            assert!(output.stderr.contains(error), "{}", output.stderr);
        }
    }
}

#[test]
fn a_list_reports_a_full_disk_and_ends_quietly_on_a_closed_pipe() {
    let order = Order { order_id: "1".to_owned(), ..Order::default() };
    let page = ListOrdersResponse { orders: vec![order], next_page_token: "more".to_owned() };
    let script = Script::default().respond(&page).respond(&page).respond(&page);
    let server = ScriptedServer::start(&script);
    let output = finish(server.pvz(&["list"]).stdout(full()));
    assert_eq!(output.exit, Some(1));
    assert!(output.stderr.starts_with("error: cannot write to standard output: "), "{}", output.stderr);
    let output = finish(server.pvz(&["list"]).stdout(closed_pipe()));
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""));
    let output = finish(server.pvz(&["list"]).stderr(full()));
    assert_eq!(output.exit, Some(0));
    assert!(output.stdout.starts_with("ORDER"), "{}", output.stdout);
    assert_eq!(script.calls().len(), 3);
}

#[test]
fn commands_without_a_server_print_without_panicking() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let data = format!("--data-dir={folder}");
    assert_eq!(pvz(&["migrate", &data]).output().unwrap().status.code(), Some(0));
    let commands: [&[&str]; 8] = [
        &["--help"],
        &["import", "--help"],
        &["version"],
        &["completion", "bash"],
        &["config", "template"],
        &["config", "show", &data],
        &["migrate", "status", &data],
        &["verify", &data],
    ];
    for command in commands {
        let output = finish(pvz(command).stdout(full()));
        assert_eq!(output.exit, Some(1), "{command:?}: {}", output.stderr);
        assert!(
            output.stderr.contains("cannot write to standard output: "),
            "{command:?}: {}",
            output.stderr
        );
        let output = finish(pvz(command).stdout(closed_pipe()));
        assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{command:?}");
    }
    let faults: [(&[&str], i32); 5] = [
        (&["no-such-command"], 2),
        (&["accept", "--weight=heavy"], 2),
        (&["list", "--server=127.0.0.1:1"], 6),
        (&["config", "check", "--store=nothing:"], 2),
        (&["serve", "--store=nothing:"], 2),
    ];
    for (command, exit) in faults {
        for stderr in [full, closed_pipe] {
            assert_eq!(finish(pvz(command).stderr(stderr())).exit, Some(exit), "{command:?}");
        }
    }
}
