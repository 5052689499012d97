//! The errors of operator commands that cannot start.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use insta::assert_snapshot;

use crate::cli_server::CommandOutput;
use crate::process::{Server, pvz};

/// Runs an operator command that must fail before it starts, and returns its errors. `DIR` and `GRPC` stand for
/// the folder and the address of gRPC.
fn start_error(arguments: &[&str], dir: &Path, grpc: &str, exit: i32) -> String {
    let dir = dir.to_str().unwrap();
    let arguments = arguments.iter().map(|argument| argument.replace("DIR", dir).replace("GRPC", grpc));
    let output = CommandOutput::from(pvz().args(arguments).stdout(Stdio::piped()).output().unwrap());
    assert_eq!(output.exit, Some(exit), "{output:?}");
    output.stderr.replace(dir, "DIR").replace(grpc, "GRPC")
}

#[test]
fn a_server_that_cannot_start_says_why_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    std::fs::write(dir.path().join("file"), "").unwrap();
    let other = "--data-dir=DIR/other";
    let mut errors = String::new();
    for (exit, arguments) in [
        (1, &["serve", "--data-dir=DIR", "--grpc-addr=127.0.0.1:0"][..]),
        (1, &["serve", other, "--grpc-addr=GRPC", "--http-addr=127.0.0.1:0"]),
        (1, &["serve", "--data-dir=DIR/file"]),
        (1, &["serve", other, "--store=sqlite:DIR/no/pvz.db"]),
        (1, &["migrate", other, "--store=postgres://pvz@127.0.0.1:1/pvz"]),
        (2, &["serve", "--store=mysql://127.0.0.1"]),
        (2, &["serve", "--grpc-addr=localhost"]),
        (2, &["serve", "--config=DIR/no.toml"]),
        (2, &["serve", "--stroe=memory:"]),
        (6, &["verify", "--data-dir=DIR/none"]),
    ] {
        let error = start_error(arguments, dir.path(), &server.grpc, exit);
        writeln!(errors, "$ pvz {}\n{error}", arguments.join(" ")).unwrap();
    }
    assert_snapshot!(errors, @r#"
    $ pvz serve --data-dir=DIR --grpc-addr=127.0.0.1:0
    error: the store DIR/pvz.db is in use: another server has locked DIR/pvz.db.lock; stop it, or use another store

    $ pvz serve --data-dir=DIR/other --grpc-addr=GRPC --http-addr=127.0.0.1:0
    error: cannot listen on GRPC (server.grpc_addr): another process listens there; stop it, or choose another address with --grpc-addr: Address already in use (os error 98)

    $ pvz serve --data-dir=DIR/file
    error: cannot create the data directory DIR/file (data_dir): a file has this name: File exists (os error 17)

    $ pvz serve --data-dir=DIR/other --store=sqlite:DIR/no/pvz.db
    error: cannot create the store DIR/no/pvz.db: the folder DIR/no does not exist

    $ pvz migrate --data-dir=DIR/other --store=postgres://pvz@127.0.0.1:1/pvz
    error: cannot connect to PostgreSQL at 127.0.0.1:1: error connecting to server: Connection refused (os error 111)

    $ pvz serve --store=mysql://127.0.0.1
    error: store.url = "mysql://127.0.0.1" (--store): must be sqlite:PATH, memory: or a URL such as postgres://user@host:5432/database

    $ pvz serve --grpc-addr=localhost
    error: server.grpc_addr = "localhost" (--grpc-addr): must be an IP address and a port, such as 127.0.0.1:8081 or [::1]:8081

    $ pvz serve --config=DIR/no.toml
    error: DIR/no.toml (--config): cannot be read: No such file or directory (os error 2)

    $ pvz serve --stroe=memory:
    error: unknown option "--stroe"; did you mean "--store"?
    run 'pvz serve --help' for usage

    $ pvz verify --data-dir=DIR/none
    error: UNAVAILABLE: there is no store at DIR/none/pvz.db; `pvz serve` creates it, or --store names another
    "#);
}
