//! Renders help texts from the descriptions that argh derives.

use std::fmt::Write as _;

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, PositionalInfo, SubCommandInfo};

use super::client::COMMON_OPTIONS;

/// Line width, in characters.
const WIDTH: usize = 96;
/// The widest term next to its description. The description of a wider one begins below it.
const MAX_TERM: usize = 34;

/// A title and the names of its commands.
type Group = (&'static str, &'static [&'static str]);

/// The groups of the command list. A command in no group comes last.
const GROUPS: [Group; 3] = [
    ("Changing orders", &["accept", "issue", "accept-return", "return-to-courier", "import"]),
    ("Reading orders and events", &["get", "list", "returns", "history", "events", "packaging", "stats"]),
    ("Running the service", &["serve", "consume", "outbox", "dlq", "migrate", "verify", "config", "bench"]),
];

/// Returns the help text of the command with that path.
pub(super) fn render(root: &CommandInfoWithArgs, path: &[String]) -> String {
    let mut info = root;
    for name in path {
        if let Some(found) = info.commands.iter().find(|command| command.name == name) {
            info = &found.command;
        }
    }
    let mut text = usage(info, path);
    text.push('\n');
    paragraph(&mut text, info.description);
    // The groups are those of the root.
    commands(&mut text, if path.is_empty() { &GROUPS } else { &[] }, &info.commands);
    positionals(&mut text, info.positionals);
    let (common, own): (Vec<_>, Vec<_>) =
        info.flags.iter().filter(|flag| !flag.hidden).partition(|flag| is_common(flag));
    if common.len() > 1 {
        options(&mut text, "Options", &own);
        options(&mut text, "Common options", &common);
    } else {
        // The only common option is --help.
        options(&mut text, "Options", &[own, common].concat());
    }
    let name = format!("pvz{}", words(path));
    section(&mut text, "Examples", info.examples, &name);
    section(&mut text, "Notes", info.notes, &name);
    let codes: Vec<_> =
        info.error_codes.iter().map(|error| (error.code.to_string(), error.description)).collect();
    entries(&mut text, "Exit codes", &codes);
    if !info.commands.is_empty() {
        let _ = writeln!(
            text,
            "\nRun 'pvz{} <command> --help' for the options of a command. Options may also stand before it.",
            words(path)
        );
    }
    text
}

pub(super) fn is_common(flag: &FlagInfo<'_>) -> bool {
    COMMON_OPTIONS.contains(&flag.long)
}

fn words(path: &[String]) -> String {
    path.iter().flat_map(|name| [" ", name.as_str()]).collect()
}

fn usage(info: &CommandInfoWithArgs, path: &[String]) -> String {
    let mut text = format!("Usage: pvz{}", words(path));
    if !info.commands.is_empty() {
        text.push_str(" <command>");
    }
    for positional in info.positionals.iter().filter(|positional| !positional.hidden) {
        let name = positional.name;
        let _ = match positional.optionality {
            Optionality::Required => write!(text, " <{name}>"),
            Optionality::Optional => write!(text, " [<{name}>]"),
            Optionality::Repeating | Optionality::Greedy => write!(text, " [<{name}>...]"),
        };
    }
    for flag in info.flags.iter().filter(|flag| flag.optionality == Optionality::Required) {
        let _ = write!(text, " {}{}", flag.long, value(flag));
    }
    text.push_str(" [options]\n");
    text
}

fn paragraph(text: &mut String, description: &str) {
    wrap(text, 0, 0, description);
}

/// Writes words from a column on, and breaks lines at the line width.
fn wrap(text: &mut String, indent: usize, mut column: usize, description: &str) {
    let mut first = true;
    for word in description.split_whitespace() {
        let length = word.chars().count();
        if !first && column + 1 + length > WIDTH {
            let _ = write!(text, "\n{:indent$}", "");
            column = indent;
        } else if !first {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
        first = false;
    }
    text.push('\n');
}

/// Writes a term and its description, aligned with the other entries.
fn entry(text: &mut String, term: &str, indent: usize, description: &str) {
    if term.chars().count() > indent - 4 {
        let _ = write!(text, "  {term}\n{:indent$}", "");
    } else {
        let _ = write!(text, "  {term:<width$}", width = indent - 2);
    }
    wrap(text, indent, indent, description);
}

fn entries(text: &mut String, title: &str, entries: &[(String, impl AsRef<str>)]) {
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}:");
    let widths = entries.iter().map(|(term, _)| term.chars().count());
    let widest = widths.filter(|width| *width <= MAX_TERM).max().unwrap_or_default();
    for (term, description) in entries {
        entry(text, term, widest + 4, description.as_ref());
    }
}

fn commands(text: &mut String, names: &[Group], commands: &[SubCommandInfo]) {
    let mut groups: Vec<(&str, Vec<(String, &str)>)> = Vec::new();
    let mut placed = Vec::new();
    for (title, names) in names {
        let group: Vec<_> = names
            .iter()
            .filter_map(|name| commands.iter().find(|command| command.name == *name))
            .map(|command| (command.name.to_owned(), summary(command.command.description)))
            .collect();
        placed.extend_from_slice(names);
        groups.push((*title, group));
    }
    let others = commands
        .iter()
        .filter(|command| !placed.contains(&command.name))
        .map(|command| (command.name.to_owned(), summary(command.command.description)))
        .collect();
    let is_grouped = groups.iter().any(|(_, group)| !group.is_empty());
    groups.push((if is_grouped { "Other commands" } else { "Commands" }, others));
    for (title, group) in groups {
        entries(text, title, &group);
    }
}

/// Returns the first sentence.
pub(super) fn summary(description: &str) -> &str {
    description.trim().split_once(". ").map_or(description.trim(), |(first, _)| first).trim_end_matches('.')
}

fn positionals(text: &mut String, positionals: &[PositionalInfo<'static>]) {
    let list: Vec<_> = positionals
        .iter()
        .filter(|positional| !positional.hidden)
        .map(|positional| (positional.name.to_owned(), positional.description))
        .collect();
    entries(text, "Arguments", &list);
}

fn options(text: &mut String, title: &str, flags: &[&FlagInfo<'static>]) {
    let list: Vec<_> = flags
        .iter()
        .map(|flag| {
            let short = flag.short.map_or_else(String::new, |short| format!("-{short}, "));
            let required = if flag.optionality == Optionality::Required { " (required)" } else { "" };
            (format!("{short}{}{}", flag.long, value(flag)), format!("{}{required}", flag.description.trim()))
        })
        .collect();
    entries(text, title, &list);
}

/// Returns ` <name>`, or nothing for a switch.
fn value(flag: &FlagInfo<'_>) -> String {
    match flag.kind {
        FlagInfoKind::Switch => String::new(),
        FlagInfoKind::Option { arg_name } => format!(" <{arg_name}>"),
    }
}

/// Adds a section of lines, unchanged except for `{command_name}`, which is replaced as argh does.
fn section(text: &mut String, title: &str, lines: &[&str], name: &str) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}:");
    for line in lines.iter().flat_map(|lines| lines.lines()) {
        let _ = writeln!(text, "  {}", line.replace("{command_name}", name));
    }
}
