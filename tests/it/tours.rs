//! Runs the tours of the README and of the guides on a fresh server, and compares the
//! output with the page. `TOURS=update` writes the output to the pages instead.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::process::Server;

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

/// The output of a command that does not end by itself: the reader presses Ctrl-C.
const INTERRUPTED: &str = "^C\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Splits a page. In the README a tour is the console block after `<!-- tour -->`, in
/// a guide every console block.
fn parts(page: &str, is_guide: bool) -> Vec<Part> {
    let mut parts = vec![];
    let mut lines = page.lines();
    let mut tour_next = is_guide;
    while let Some(line) = lines.next() {
        parts.push(Part::Prose(line.to_owned()));
        if line == "<!-- tour -->" {
            tour_next = true;
        } else if line == "```console" && tour_next {
            tour_next = is_guide;
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

/// A terminal of the reader: a server, a working directory, and the variables that
/// were assigned.
struct Terminal<'a> {
    server: &'a Server,
    dir: &'a Path,
    variables: String,
}

impl Terminal<'_> {
    /// Runs a command in bash, and returns its output.
    fn run(&mut self, command: &str, expected: &str) -> String {
        if let Some(name) = assigned(command) {
            let declared = self.bash(&format!("{command}\ndeclare -p {name}")).output().unwrap();
            assert!(declared.status.success(), "{command}: {declared:?}");
            self.variables += &String::from_utf8(declared.stdout).unwrap();
            return String::new();
        }
        let mut bash = self.bash(&format!("exec 2>&1\n{command}"));
        let text = match expected.strip_suffix(INTERRUPTED) {
            Some(lines) => interrupted(&mut bash, lines.lines().count().max(1)),
            None => String::from_utf8(bash.output().unwrap().stdout).unwrap(),
        };
        // The lines of an HTTP head end with both characters.
        let text =
            text.replace("\r\n", "\n").replace(&*self.dir.to_string_lossy(), "/home/you/.local/share/pvz");
        if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
    }

    fn bash(&self, script: &str) -> Command {
        let bin = Path::new(env!("CARGO_BIN_EXE_pvz")).parent().unwrap().display();
        let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        // pvz warns about unknown PVZ_ variables.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PVZ_")) {
            shell.env_remove(name);
        }
        shell
            .args(["-c", &format!("{}{script}", self.variables).replace("127.0.0.1:8081", &self.server.http)])
            .current_dir(self.dir)
            .env("PATH", path)
            .env("TZ", "UTC")
            .env("NO_COLOR", "1")
            .env("PVZ_SERVER", &self.server.grpc)
            .env("PVZ_DATA_DIR", self.dir);
        shell
    }
}

/// Returns the variable that a command assigns, if it does nothing else.
fn assigned(command: &str) -> Option<&str> {
    let (name, _) = command.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    is_name.then_some(name)
}

/// Reads lines of a command that does not end, and then ends it.
fn interrupted(bash: &mut Command, lines: usize) -> String {
    let mut child = bash.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..lines {
        output.read_line(&mut text).unwrap();
    }
    // Not SIGINT: a shell in the background ignores it, and so do its children.
    kill_process_group(Pid::from_child(&child), Signal::TERM).unwrap();
    output.read_to_string(&mut String::new()).unwrap();
    child.wait().unwrap();
    text + INTERRUPTED
}

/// Replaces dates, times and ids, which differ in every run, and ports.
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

/// Runs the tours of a page, and returns the number of commands.
fn check(page: &Path, is_guide: bool) -> usize {
    let text = std::fs::read_to_string(page).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut terminal = Terminal { server: &server, dir: dir.path(), variables: String::new() };
    let mut actual = String::new();
    let mut commands = 0;
    for part in parts(&text, is_guide) {
        match part {
            Part::Prose(line) => writeln!(actual, "{line}").unwrap(),
            Part::Tour(steps) => {
                for Step { command, expected } in steps {
                    let output = terminal.run(&command, &expected);
                    commands += 1;
                    let unchanged = normalized(&output) == normalized(&expected);
                    write!(actual, "$ {command}\n{}", if unchanged { &expected } else { &output }).unwrap();
                }
            }
        }
    }
    if std::env::var_os("TOURS").is_some_and(|mode| mode == "update") {
        std::fs::write(page, &actual).unwrap();
    } else {
        assert_eq!(normalized(&actual), normalized(&text), "TOURS=update rewrites {}", page.display());
    }
    commands
}

#[test]
fn the_readme_shows_the_output_of_its_commands() {
    let commands = check(&root().join("README.md"), false);
    assert!(commands > 10, "only {commands} commands in the tours");
}

#[test]
fn the_guides_show_the_output_of_their_commands() {
    let entries = std::fs::read_dir(root().join("docs/guides")).unwrap();
    let mut guides: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    guides.sort();
    assert_eq!(guides.len(), 6, "{guides:?}");
    for guide in guides {
        let commands = check(&guide, true);
        assert!(commands > 3, "only {commands} commands in {}", guide.display());
        let lines = std::fs::read_to_string(&guide).unwrap().lines().count();
        assert!(lines <= 120, "{} has {lines} lines: a guide is short", guide.display());
    }
}
