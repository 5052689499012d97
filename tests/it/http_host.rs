//! Requests that name no host, two hosts or a malformed one, on REST and on the admin port.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::process::Server;

/// Sends a request head on a new connection, and returns the whole response.
fn answer(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn requests_must_name_one_valid_host() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--store=memory:", "--events=none:"]);
    for (address, path) in [(&server.http, "/v1/packaging"), (&server.admin, "/livez")] {
        let get = |version: &str, hosts: &str| answer(address, &format!("GET {path} {version}\r\n{hosts}"));
        for (hosts, sentence) in [
            ("", "the request has no Host header"),
            ("Host: a\r\nHost: b\r\n", "the request has more than one Host header"),
            ("Host: a\r\nHost: a\r\n", "the request has more than one Host header"),
            ("Host: a b\r\n", "the Host header must be a host and an optional port"),
            ("Host: a/b\r\n", "the Host header must be a host and an optional port"),
            ("Host: u:p@a\r\n", "the Host header must be a host and an optional port"),
            ("Host: a:http\r\n", "the Host header must be a host and an optional port"),
            ("Host:\r\n", "the Host header must be a host and an optional port"),
        ] {
            let response = get("HTTP/1.1", hosts);
            assert!(
                response.starts_with("HTTP/1.1 400 ") && response.contains(sentence),
                "{hosts:?}: {response}"
            );
        }
        let absolute = format!("GET http://{address}{path} HTTP/1.1\r\n");
        let response = answer(address, &format!("{absolute}Host: other\r\n"));
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
        for accepted in [
            get("HTTP/1.1", "Host: pvz.example:81\r\n"),
            get("HTTP/1.1", "host: [::1]:81\r\n"),
            get("HTTP/1.0", ""),
            answer(address, &format!("{absolute}Host: {address}\r\n")),
        ] {
            assert_eq!(accepted.split(' ').nth(1), Some("200"), "{accepted}");
        }
    }
    let problem = answer(&server.http, "GET /v1/packaging HTTP/1.1\r\n");
    assert!(
        problem.contains("application/problem+json") && problem.contains("VALIDATION_FAILED"),
        "{problem}"
    );
    server.stop();
}
