//! Plants control characters and characters of bidirectional text wherever text from outside is
//! echoed, and looks for them in everything that is printed.

use std::fs;

use super::{Printed, fetch, run};
use crate::process::{Server, pvz};

/// A text that looks like another one: it moves the cursor, and reverses what follows.
const PLANTED: &str = "a\u{1b}[31m\u{9b}2J\u{202e}b\u{200b}c\u{2066}d\r\ne";

/// Returns the characters of an output that a terminal or a reader takes for something else.
fn deceptive(text: &str) -> Vec<char> {
    let hidden = |character: &char| {
        (character.is_control() && *character != '\n')
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
    };
    text.chars().filter(hidden).collect()
}

fn assert_plain(case: &str, printed: &Printed) {
    for text in [&printed.stdout, &printed.stderr] {
        assert_eq!(deceptive(text), [], "{case}: {text:?}");
        // A newline of the planted text would begin a line of its own.
        assert!(
            !text.lines().any(|line| line.starts_with('e') && !line.starts_with("error")),
            "{case}: {text}"
        );
    }
}

#[test]
fn commands_escape_what_they_echo() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let store = format!("--store=sqlite:{data}/{PLANTED}.db");
    let missing = format!("--config={data}/{PLANTED}.toml");
    let planted_dir = format!("--data-dir=/proc/{PLANTED}");
    let config = folder.path().join(format!("{PLANTED}.toml"));
    // Raw, as the file may have it.
    let key = "\"a\u{202e}b\"";
    let keys = format!("{key} = 1\n[store]\n{key} = 1\nurl = {key}\n[policy]\npickup_point = {key}\n");
    for arguments in [
        &["config", "show", &store][..],
        &["config", "check", &missing],
        &["verify", &store],
        &["migrate", "status", &store],
        &["migrate", &planted_dir],
        &["serve", &planted_dir],
        &["consume", "--once", &planted_dir],
        &["config", "check", &format!("--store={PLANTED}"), &format!("--grpc-addr={PLANTED}")],
        &["config", "check", &format!("--{PLANTED}=1")],
        &["get", PLANTED, PLANTED],
        &[PLANTED],
        &["list", &format!("--output={PLANTED}")],
        &["list", &format!("--server={PLANTED}")],
        &["list", &format!("--timeout={PLANTED}")],
        &["import", &format!("{data}/{PLANTED}.csv")],
        &["bench", PLANTED],
        &["consume", &format!("--from={PLANTED}")],
    ] {
        assert_plain(&format!("{arguments:?}"), &run(arguments, &[("PVZ_DATA_DIR", data)]));
    }
    fs::write(&config, keys).unwrap();
    let from_file = run(&["config", "check", "--config", config.to_str().unwrap()], &[]);
    assert_eq!(from_file.exit, Some(2));
    assert_plain("the keys of a file", &from_file);
    let mut unknown_variable = pvz();
    unknown_variable.args(["config", "check", "--store=memory:"]).env(format!("PVZ_{PLANTED}"), "1");
    let output = unknown_variable.env("PVZ_LOG_FORMAT", PLANTED).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("log.format"), "{stderr}");
    assert_plain("variables", &Printed { exit: None, stdout: String::new(), stderr });
}

#[test]
fn shown_configuration_with_planted_paths_can_be_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:/srv/{PLANTED}\"\\.db");
    let shown = run(&["config", "show"], &[("PVZ_STORE", &store), ("PVZ_DATA_DIR", "/srv")]);
    assert_eq!(deceptive(&shown.stdout), []);
    let file = folder.path().join("shown.toml");
    fs::write(&file, &shown.stdout).unwrap();
    let again = run(&["config", "show", "--config", file.to_str().unwrap()], &[("PVZ_DATA_DIR", "/srv")]);
    let url = |printed: &Printed| {
        printed.stdout.lines().find(|line| line.starts_with("url = ")).unwrap().to_owned()
    };
    assert_eq!(url(&again).split(" # ").next(), url(&shown).split(" # ").next());
}

#[test]
fn server_escapes_what_it_echoes() {
    let folder = tempfile::tempdir().unwrap();
    let planted = folder.path().join("a\u{202e}b\u{1b}[31m\u{200b}");
    for format in ["json", "human"] {
        let format = format!("PVZ_LOG_FORMAT={format}");
        let server =
            Server::start_with_env(&planted, &["--events=journal:"], &[&format, "PVZ_LOG_FILTER=debug"]);
        for path in [
            "/v1/%E2%80%AE",
            "/v1/orders/%E2%80%AE",
            "/v1/orders?%E2%80%AE=1",
            "/v1/orders?pageSize=%E2%80%AE",
            "/v1/orders?state=%E2%80%AE%1B",
            "/%E2%80%AE",
        ] {
            let response = fetch(&server.http, path).replace('\r', "");
            assert_eq!(deceptive(&response), [], "{path}: {response:?}");
        }
        let refused =
            server.cli(&["accept", &format!("--order-id={PLANTED}"), "--customer-id=\u{202e}"]).output();
        let refused = refused.unwrap();
        let stderr = String::from_utf8(refused.stderr).unwrap();
        assert_plain("accept", &Printed { exit: refused.status.code(), stdout: String::new(), stderr });
        let log = [server.log(), server.calls()].concat().join("\n");
        assert_eq!(deceptive(&log), [], "{log:?}");
        assert_eq!(deceptive(server.banner()), [], "{}", server.banner());
        server.stop();
    }
}
