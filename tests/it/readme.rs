//! The README's tours, run as printed on a fresh server: what a newcomer reads
//! is what they get. `README_TOURS=update` writes what came out instead.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::process::Server;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// A command of a tour, and what the page says it prints.
struct Step {
    command: String,
    printed: String,
}

/// The lines of the page, those of a tour's block taken apart.
enum Part {
    Prose(String),
    Tour(Vec<Step>),
}

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
                        steps.push(Step { command: command.to_owned(), printed: String::new() });
                    }
                    (None, Some(step)) => writeln!(step.printed, "{line}").unwrap(),
                    (None, None) => panic!("a tour begins with a command: {line}"),
                }
            }
            parts.push(Part::Tour(steps));
            parts.push(Part::Prose("```".to_owned()));
        }
    }
    parts
}

fn run(command: &str, server: &Server, dir: &Path) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_pvz")).parent().unwrap().display();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let command = command.replace("127.0.0.1:8081", &server.http);
    let mut shell = Command::new("bash");
    // Variables of ours from outside would be warned of.
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

/// Dates, times and ids are other ones on every run.
fn steady(text: &str) -> String {
    let mut steady = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let (name, length) = [("DATE", date(rest)), ("TIME", time(rest)), ("ID", uuid(rest))]
            .into_iter()
            .find(|(_, length)| *length > 0)
            .unwrap_or(("", 0));
        if length == 0 {
            steady.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            steady.push_str(name);
            rest = &rest[length..];
        }
    }
    steady
}

/// How long the text is that has that shape: `0` for a digit, `x` for a
/// hexadecimal one, anything else for itself.
fn shaped(text: &str, shape: &str) -> usize {
    let fits = |(byte, shape): (u8, u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'x' => byte.is_ascii_hexdigit(),
        other => byte == other,
    };
    let long_enough = text.len() >= shape.len();
    if long_enough && text.bytes().zip(shape.bytes()).all(fits) { shape.len() } else { 0 }
}

fn date(text: &str) -> usize {
    shaped(text, "0000-00-00")
}

fn time(text: &str) -> usize {
    match shaped(text, "00:00:00") {
        0 => 0,
        whole => [".000000", ".000"]
            .iter()
            .map(|shape| shaped(&text[whole..], shape))
            .find(|fraction| *fraction > 0)
            .map_or(whole, |fraction| whole + fraction),
    }
}

fn uuid(text: &str) -> usize {
    shaped(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

#[test]
fn the_tours_work_as_printed() {
    let page = std::fs::read_to_string(README).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut seen = String::new();
    let mut commands = 0;
    for part in parts(&page) {
        match part {
            Part::Prose(line) => writeln!(seen, "{line}").unwrap(),
            Part::Tour(steps) => {
                for Step { command, printed } in steps {
                    let output = run(&command, &server, dir.path());
                    commands += 1;
                    let unchanged = steady(&output) == steady(&printed);
                    write!(seen, "$ {command}\n{}", if unchanged { &printed } else { &output }).unwrap();
                }
            }
        }
    }
    assert!(commands > 10, "the page has no tour");
    if std::env::var_os("README_TOURS").is_some_and(|wish| wish == "update") {
        std::fs::write(README, &seen).unwrap();
        return;
    }
    assert_eq!(steady(&seen), steady(&page), "README_TOURS=update writes the page anew");
}
