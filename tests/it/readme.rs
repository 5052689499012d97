//! Runs the tours of the README on a fresh server, and compares the output with the
//! page. `README_TOURS=update` writes the output to the page instead.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::process::Server;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// A command of a tour, and its output on the page.
struct Step {
    command: String,
    expected: String,
}

/// A part of the page: a line, or the steps of a tour.
enum Part {
    Prose(String),
    Tour(Vec<Step>),
}

/// Splits the page. A tour is the console block after `<!-- tour -->`.
fn parts(page: &str) -> Vec<Part> {
    let mut parts = vec![];
    let mut lines = page.lines();
    let mut tour_next = false;
    while let Some(line) = lines.next() {
        parts.push(Part::Prose(line.to_owned()));
        if line == "<!-- tour -->" {
            tour_next = true;
        } else if line == "```console" && std::mem::take(&mut tour_next) {
            let mut steps: Vec<Step> = vec![];
            for line in lines.by_ref().take_while(|line| *line != "```") {
                match (line.strip_prefix("$ "), steps.last_mut()) {
                    (Some(command), _) => {
                        steps.push(Step { command: command.to_owned(), expected: String::new() });
                    }
                    (None, Some(step)) => writeln!(step.expected, "{line}").unwrap(),
                    (None, None) => panic!("a tour must begin with a command: {line}"),
                }
            }
            parts.push(Part::Tour(steps));
            parts.push(Part::Prose("```".to_owned()));
        }
    }
    parts
}

/// Runs a command in bash against the server, and returns its output.
fn run(command: &str, server: &Server, dir: &Path) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_pvz")).parent().unwrap().display();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let command = command.replace("127.0.0.1:8081", &server.http);
    let mut shell = Command::new("bash");
    // pvz warns about unknown PVZ_ variables.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PVZ_")) {
        shell.env_remove(name);
    }
    let output = shell
        .args(["-c", &format!("{command} 2>&1")])
        .current_dir(dir)
        .env("PATH", path)
        .env("TZ", "UTC")
        .env("NO_COLOR", "1")
        .env("PVZ_SERVER", &server.grpc)
        .env("PVZ_DATA_DIR", dir)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
}

/// Replaces dates, times and ids, which differ in every run.
fn normalized(text: &str) -> String {
    let mut normalized = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let (name, length) = [("DATE", date(rest)), ("TIME", time(rest)), ("ID", uuid(rest))]
            .into_iter()
            .find(|(_, length)| *length > 0)
            .unwrap_or(("", 0));
        if length == 0 {
            normalized.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            normalized.push_str(name);
            rest = &rest[length..];
        }
    }
    normalized
}

/// Returns the length of the pattern if the text starts with it, or 0. In a pattern,
/// `0` is a digit, `x` a hexadecimal digit, and anything else stands for itself.
fn match_length(text: &str, pattern: &str) -> usize {
    let fits = |(byte, pattern): (u8, u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        b'x' => byte.is_ascii_hexdigit(),
        other => byte == other,
    };
    let long_enough = text.len() >= pattern.len();
    if long_enough && text.bytes().zip(pattern.bytes()).all(fits) { pattern.len() } else { 0 }
}

fn date(text: &str) -> usize {
    match_length(text, "0000-00-00")
}

fn time(text: &str) -> usize {
    match match_length(text, "00:00:00") {
        0 => 0,
        whole => [".000000", ".000"]
            .iter()
            .map(|pattern| match_length(&text[whole..], pattern))
            .find(|fraction| *fraction > 0)
            .map_or(whole, |fraction| whole + fraction),
    }
}

fn uuid(text: &str) -> usize {
    match_length(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

#[test]
fn the_tours_print_the_output_on_the_page() {
    let page = std::fs::read_to_string(README).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut actual = String::new();
    let mut commands = 0;
    for part in parts(&page) {
        match part {
            Part::Prose(line) => writeln!(actual, "{line}").unwrap(),
            Part::Tour(steps) => {
                for Step { command, expected } in steps {
                    let output = run(&command, &server, dir.path());
                    commands += 1;
                    let unchanged = normalized(&output) == normalized(&expected);
                    write!(actual, "$ {command}\n{}", if unchanged { &expected } else { &output }).unwrap();
                }
            }
        }
    }
    assert!(commands > 10, "only {commands} commands in the tours");
    if std::env::var_os("README_TOURS").is_some_and(|mode| mode == "update") {
        std::fs::write(README, &actual).unwrap();
        return;
    }
    assert_eq!(normalized(&actual), normalized(&page), "README_TOURS=update rewrites the page");
}
