//! The output of the program: never a password, and no character that a reader does not see as it is.

mod escapes;
mod fake_postgres;
mod secrets;

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::process::pvz;

/// The output of a command.
struct Printed {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a command to its end.
fn run(arguments: &[impl AsRef<OsStr>], variables: &[(&str, &str)]) -> Printed {
    let output = pvz().args(arguments).envs(variables.iter().copied()).output().unwrap();
    Printed {
        exit: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Requests a path, and returns the whole response.
fn fetch(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}
