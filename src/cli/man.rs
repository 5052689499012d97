//! `pvz man`: manual pages, from the command descriptions that argh derives.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs, Optionality};

use super::args::VERSION_FLAG;
use super::failure::{Failure, Outcome};
use super::help::{is_common, summary};
use super::output::print_text;
use crate::adapters::status::{EXIT_DIFFERENCES, Reason, status_codes};

/// Print the manual page of a command, or write the pages of all commands.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "man",
    example = "pvz man | man -l -\n\
               pvz man outbox republish | man -l -\n\
               pvz man --dir ~/.local/share/man/man1"
)]
pub struct Man {
    /// the command; without one, pvz itself
    #[argh(positional, arg_name = "command")]
    command: Vec<String>,
    /// write the pages of all commands into this folder
    #[argh(option, arg_name = "folder")]
    dir: Option<String>,
}

impl Man {
    pub(super) fn run(self, root: &CommandInfoWithArgs) -> Outcome {
        let mut page = Page { root, path: vec!["pvz"], info: root };
        for name in &self.command {
            let Some(found) = page.info.commands.iter().find(|command| command.name == name) else {
                return Err(Failure::usage(format!("{} has no command {name:?}", page.path.join(" "))).into());
            };
            page = page.of(found.name, &found.command);
        }
        match self.dir {
            Some(_) if !self.command.is_empty() => {
                return Err(Failure::usage("--dir writes the pages of all commands: name no command").into());
            }
            Some(folder) => write_all(&page, Path::new(&folder))?,
            None => print_text(&page.render())?,
        }
        Ok(0)
    }
}

/// Writes a page and those of its commands.
fn write_all(page: &Page<'_>, folder: &Path) -> Result<(), Failure> {
    let file = folder.join(format!("{}.1", page.name()));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, page.render()))
        .map_err(|error| Failure::usage(format!("cannot write {}: {error}", file.display())))?;
    page.info.commands.iter().try_for_each(|found| write_all(&page.of(found.name, &found.command), folder))
}

/// The manual page of a command.
struct Page<'a> {
    root: &'a CommandInfoWithArgs,
    /// The names of the command and its parents.
    path: Vec<&'a str>,
    info: &'a CommandInfoWithArgs,
}

impl<'a> Page<'a> {
    fn of(&self, name: &'a str, info: &'a CommandInfoWithArgs) -> Self {
        let path = self.path.iter().copied().chain([name]).collect();
        Self { root: self.root, path, info }
    }

    fn name(&self) -> String {
        self.path.join("-")
    }

    fn render(&self) -> String {
        let info = self.info;
        let title = escaped(&self.name().to_uppercase());
        let mut text = format!(".TH \"{title}\" 1 \"\" \"pvz {}\" \"pvz\"\n", env!("CARGO_PKG_VERSION"));
        section(&mut text, "NAME");
        paragraph(&mut text, &format!("{} - {}", self.name(), summary(info.description)));
        self.synopsis(&mut text);
        section(&mut text, "DESCRIPTION");
        paragraph(&mut text, info.description);
        self.commands(&mut text);
        if info.positionals.iter().any(|positional| !positional.hidden) {
            section(&mut text, "ARGUMENTS");
            for positional in info.positionals.iter().filter(|positional| !positional.hidden) {
                entry(&mut text, &italic(positional.name), positional.description);
            }
        }
        let version = std::iter::once(&VERSION_FLAG).filter(|_| std::ptr::eq(info, self.root));
        let flags = info.flags.iter().chain(version).filter(|flag| !flag.hidden);
        let (common, own): (Vec<_>, Vec<_>) = flags.partition(|flag| is_common(flag));
        if common.len() > 1 {
            options(&mut text, "OPTIONS", &own);
            options(&mut text, "COMMON OPTIONS", &common);
        } else {
            // The only common option is --help.
            options(&mut text, "OPTIONS", &[own, common].concat());
        }
        self.examples(&mut text);
        if !info.notes.is_empty() {
            section(&mut text, "NOTES");
            info.notes.iter().for_each(|note| notes(&mut text, note));
        }
        self.exit_status(&mut text);
        self.see_also(&mut text);
        text
    }

    fn synopsis(&self, text: &mut String) {
        section(text, "SYNOPSIS");
        let mut line = bold(&self.path.join(" "));
        if !self.info.commands.is_empty() {
            let _ = write!(line, " {}", italic("command"));
        }
        for positional in self.info.positionals.iter().filter(|positional| !positional.hidden) {
            let name = italic(positional.name);
            let _ = match positional.optionality {
                Optionality::Required => write!(line, " {name}"),
                Optionality::Optional => write!(line, " [{name}]"),
                Optionality::Repeating | Optionality::Greedy => write!(line, " [{name} ...]"),
            };
        }
        let _ = writeln!(text, "{line} [{}]", italic("options"));
    }

    fn commands(&self, text: &mut String) {
        if self.info.commands.is_empty() {
            return;
        }
        section(text, "COMMANDS");
        for found in &self.info.commands {
            let name = self.of(found.name, &found.command).name();
            entry(text, &format!("{}(1)", bold(&name)), &format!("{}.", summary(found.command.description)));
        }
    }

    fn examples(&self, text: &mut String) {
        if self.info.examples.is_empty() {
            return;
        }
        section(text, "EXAMPLES");
        text.push_str(".nf\n");
        for line in self.info.examples.iter().flat_map(|example| example.lines()) {
            let _ = writeln!(text, "\\&{}", escaped(&line.replace("{command_name}", &self.path.join(" "))));
        }
        text.push_str(".fi\n");
    }

    /// Adds the exit codes of all commands to the page of the program.
    fn exit_status(&self, text: &mut String) {
        if !std::ptr::eq(self.info, self.root) {
            return;
        }
        let mut codes: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
        for reason in Reason::ALL {
            codes.entry(status_codes(*reason).exit).or_default().push(reason.name());
        }
        section(text, "EXIT STATUS");
        entry(text, &bold("0"), "Success.");
        for (code, reasons) in codes {
            entry(text, &bold(&code.to_string()), &format!("{}.", reasons.join(", ")));
        }
        entry(text, &bold(&EXIT_DIFFERENCES.to_string()), "pvz verify found differences.");
    }

    fn see_also(&self, text: &mut String) {
        let parents = (1..self.path.len()).map(|length| self.path[..length].join("-"));
        let parents: Vec<String> = parents.map(|name| format!("{}(1)", bold(&name))).collect();
        if !parents.is_empty() {
            section(text, "SEE ALSO");
            let _ = writeln!(text, "{}", parents.join(", "));
        }
    }
}

fn section(text: &mut String, title: &str) {
    let _ = writeln!(text, ".SH \"{title}\"");
}

/// Writes a paragraph: no line may begin with a control character of roff.
fn paragraph(text: &mut String, description: &str) {
    for line in description.lines() {
        let _ = writeln!(text, "\\&{}", escaped(line.trim()));
    }
}

/// Writes notes, whose indented lines are kept as they are.
fn notes(text: &mut String, note: &str) {
    let mut is_list = false;
    for line in note.lines() {
        if line.starts_with(' ') != is_list {
            is_list = !is_list;
            text.push_str(if is_list { ".RS 4\n.nf\n" } else { ".fi\n.RE\n" });
        }
        let _ = writeln!(text, "\\&{}", escaped(line.trim()));
    }
    if is_list {
        text.push_str(".fi\n.RE\n");
    }
}

/// Writes a term and its description.
fn entry(text: &mut String, term: &str, description: &str) {
    let _ = writeln!(text, ".TP\n{term}");
    paragraph(text, description);
}

fn options(text: &mut String, title: &str, flags: &[&FlagInfo<'static>]) {
    if flags.is_empty() {
        return;
    }
    section(text, title);
    for flag in flags {
        let short = flag.short.map_or_else(String::new, |short| format!("{}, ", bold(&format!("-{short}"))));
        let value = match flag.kind {
            FlagInfoKind::Switch => String::new(),
            FlagInfoKind::Option { arg_name } => format!("={}", italic(arg_name)),
        };
        entry(text, &format!("{short}{}{value}", bold(flag.long)), flag.description);
    }
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escaped(text))
}

/// Escapes the characters that roff interprets or prints as another one.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\(rs"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '"' => escaped.push_str("\\(dq"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            ascii if ascii.is_ascii() => escaped.push(ascii),
            other => _ = write!(escaped, "\\[u{:04X}]", u32::from(other)),
        }
    }
    escaped
}
