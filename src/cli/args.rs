//! Normalizes the arguments for argh, which supports neither `--opt=value` nor
//! `--version` nor options before the command, takes `-` for an option and exits
//! with 1 on wrong usage.
//!
//! The arguments are checked against the command descriptions that argh
//! derives, and passed on in the one order that argh parses reliably: command,
//! options, `--`, positional arguments.

use std::collections::BTreeSet;
use std::ffi::OsString;

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, PositionalInfo};

use super::escape::plain;
use crate::config::redact;

/// `--version`, which argh does not know.
pub(super) const VERSION_FLAG: FlagInfo<'static> = FlagInfo {
    kind: FlagInfoKind::Switch,
    optionality: Optionality::Optional,
    long: "--version",
    short: Some('V'),
    description: "print the version",
    hidden: false,
};

/// The request that the arguments express.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    /// To run a command.
    Run {
        /// The names of the command and its parents.
        path: Vec<String>,
        /// The arguments for argh.
        arguments: Vec<String>,
    },
    /// To print the help of the command with that path.
    Help(Vec<String>),
    /// To print the version.
    Version,
}

/// Wrong arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError {
    path: Vec<String>,
    message: String,
}

impl UsageError {
    /// Creates the error from the message of argh. Returns `None` if only the subcommand is missing.
    pub(super) fn from_argh(path: Vec<String>, message: &str) -> Option<Self> {
        let message = message.trim();
        let is_complete = !message.starts_with("One of the following subcommands must be present:");
        is_complete.then(|| Self { path, message: message.to_owned() })
    }

    /// Returns the command that the arguments name.
    pub(super) fn path(&self) -> &[String] {
        &self.path
    }

    /// Returns what is wrong, on one line.
    pub(super) fn message(&self) -> String {
        // A URL in the wrong place may have a password.
        let message = redact(&self.message);
        if let Some((option, value, cause)) = wrong_value(&message) {
            return plain(&format!("{option} does not take the value {value:?}: {cause}")).into_owned();
        }
        // The messages of argh have several lines.
        let lines: Vec<_> = message.lines().map(|line| plain(line.trim())).collect();
        lines.join(" ")
    }

    /// Returns where to read more.
    pub(super) fn advice(&self) -> String {
        let command: String = self.path.iter().flat_map(|name| [" ", name.as_str()]).collect();
        format!("run 'pvz{command} --help' for usage")
    }
}

/// Returns option, value and cause of the message of argh about a value.
fn wrong_value(message: &str) -> Option<(&str, &str, &str)> {
    let (option, rest) = message.strip_prefix("Error parsing option '")?.split_once("' with value '")?;
    let (value, cause) = rest.rsplit_once("': ")?;
    Some((option, value, cause))
}

/// Checks the arguments and orders them for argh. Without arguments, requests the
/// help.
///
/// # Errors
/// An option or command is unknown, repeated or missing, an option lacks its
/// value, or an argument is unexpected or not UTF-8.
pub(super) fn prepare(
    root: &CommandInfoWithArgs,
    arguments: impl Iterator<Item = OsString>,
) -> Result<Invocation, UsageError> {
    let mut walk = Walk::new(root);
    let mut texts = Vec::new();
    for argument in arguments {
        let text = argument.into_string().map_err(|argument| {
            walk.error(format!("the argument {:?} is not UTF-8", argument.to_string_lossy()))
        })?;
        texts.push(text);
    }
    if texts.is_empty() {
        return Ok(Invocation::Help(Vec::new()));
    }
    let mut rest = texts.into_iter().peekable();
    while let Some(text) = rest.next() {
        match text.as_str() {
            "--" => {
                for text in rest.by_ref() {
                    walk.positional(text)?;
                }
            }
            "--help" | "-h" => return Ok(Invocation::Help(walk.path)),
            "--version" | "-V" if walk.path.is_empty() => return Ok(Invocation::Version),
            "help" if !walk.info.commands.is_empty() => {
                for text in rest.by_ref().filter(|text| text != "--help" && text != "-h") {
                    walk.command(&text)?;
                }
                return Ok(Invocation::Help(walk.path));
            }
            option if option.starts_with('-') && option != "-" => {
                let next = rest.peek().cloned();
                if walk.option(option, next)? {
                    rest.next();
                }
            }
            _ if !walk.info.commands.is_empty() => walk.command(&text)?,
            _ => walk.positional(text)?,
        }
    }
    walk.finish()
}

/// The position in the tree of commands, and the arguments so far.
struct Walk<'a> {
    info: &'a CommandInfoWithArgs,
    path: Vec<String>,
    arguments: Vec<String>,
    positionals: Vec<String>,
    seen: BTreeSet<&'a str>,
    /// The options before the command, with their values.
    early: Vec<(&'a FlagInfo<'static>, Option<String>)>,
}

impl<'a> Walk<'a> {
    fn new(info: &'a CommandInfoWithArgs) -> Self {
        Self {
            info,
            path: Vec::new(),
            arguments: Vec::new(),
            positionals: Vec::new(),
            seen: BTreeSet::new(),
            early: Vec::new(),
        }
    }

    fn error(&self, message: String) -> UsageError {
        UsageError { path: self.path.clone(), message }
    }

    fn command(&mut self, name: &str) -> Result<(), UsageError> {
        let Some(found) = self.info.commands.iter().find(|command| command.name == name) else {
            let names = self.info.commands.iter().map(|command| command.name);
            let shown = redact(name);
            return Err(self.error(format!("unknown command {shown:?}{}", did_you_mean(name, names))));
        };
        self.info = &found.command;
        self.path.push(name.to_owned());
        self.arguments.push(name.to_owned());
        if self.info.commands.is_empty() { self.pass_on_early() } else { Ok(()) }
    }

    /// Passes on the options that were given before the command.
    fn pass_on_early(&mut self) -> Result<(), UsageError> {
        for (flag, value) in std::mem::take(&mut self.early) {
            if !self.info.flags.iter().any(|own| own.long == flag.long) {
                return Err(self.error(format!("{} has no option {}", self.path.join(" "), flag.long)));
            }
            self.pass_on(flag, value);
        }
        Ok(())
    }

    fn pass_on(&mut self, flag: &FlagInfo<'_>, value: Option<String>) {
        self.arguments.push(flag.long.to_owned());
        self.arguments.extend(value);
    }

    fn positional(&mut self, text: String) -> Result<(), UsageError> {
        let takes_many =
            self.info.positionals.iter().any(|positional| {
                matches!(positional.optionality, Optionality::Repeating | Optionality::Greedy)
            });
        if self.positionals.len() >= self.info.positionals.len() && !takes_many {
            return Err(self.error(format!("unexpected argument {:?}", redact(&text))));
        }
        self.positionals.push(text);
        Ok(())
    }

    /// Returns the option with that name, of this command or, before the command,
    /// of any.
    fn find(&self, name: &str) -> Option<&'a FlagInfo<'static>> {
        let short = name.strip_prefix('-').and_then(only_char).filter(|letter| *letter != '-');
        flags(self.info)
            .into_iter()
            .find(|flag| flag.long == name || (short.is_some() && flag.short == short))
    }

    /// Returns the option and the value in the same argument: `--output=json`,
    /// `-o=json` or `-ojson`.
    fn split(&self, text: &str) -> Option<(&'a FlagInfo<'static>, Option<String>)> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if let Some(flag) = self.find(name) {
            return Some((flag, value));
        }
        let (end, _) = text.char_indices().nth(2)?;
        let flag = self.find(&text[..end])?;
        let takes_value = matches!(flag.kind, FlagInfoKind::Option { .. });
        takes_value.then(|| (flag, Some(text[end..].to_owned())))
    }

    /// Returns true if the text is an option of this command, so that it is not
    /// taken for the value of the previous option.
    fn is_option(&self, text: &str) -> bool {
        matches!(text, "--" | "-h")
            || self.find(text.split_once('=').map_or(text, |(name, _)| name)).is_some()
    }

    /// Adds an option. Returns true if `next` was its value.
    fn option(&mut self, text: &str, next: Option<String>) -> Result<bool, UsageError> {
        let Some((flag, inline)) = self.split(text) else {
            let name = text.split_once('=').map_or(text, |(name, _)| name);
            let names = flags(self.info).into_iter().map(|flag| flag.long);
            let shown = redact(name);
            return Err(self.error(format!("unknown option {shown:?}{}", did_you_mean(name, names))));
        };
        let may_repeat = matches!(flag.optionality, Optionality::Repeating);
        if !self.seen.insert(flag.long) && !may_repeat {
            return Err(self.error(format!("{} was given twice", flag.long)));
        }
        let is_separate = inline.is_none();
        let value = match flag.kind {
            FlagInfoKind::Switch if inline.is_some() => {
                return Err(self.error(format!("{} takes no value", flag.long)));
            }
            FlagInfoKind::Switch => None,
            FlagInfoKind::Option { .. } => {
                let value = inline.or_else(|| next.filter(|next| !self.is_option(next)));
                Some(value.ok_or_else(|| self.error(format!("{} needs a value", flag.long)))?)
            }
        };
        let took_next = is_separate && value.is_some();
        if self.info.commands.is_empty() {
            self.pass_on(flag, value);
        } else {
            self.early.push((flag, value));
        }
        Ok(took_next)
    }

    fn finish(mut self) -> Result<Invocation, UsageError> {
        if self.path.is_empty() {
            return Err(self.error("no command given".to_owned()));
        }
        // A group can be a command itself: `pvz migrate` and `pvz migrate status`.
        self.pass_on_early()?;
        let is_missing = |flag: &&FlagInfo<'_>| {
            flag.optionality == Optionality::Required && !self.seen.contains(flag.long)
        };
        let missing: Vec<_> = self.info.flags.iter().filter(is_missing).map(|flag| flag.long).collect();
        if !missing.is_empty() {
            return Err(self.error(format!("missing {}", missing.join(" and "))));
        }
        let is_required = |positional: &&PositionalInfo<'_>| positional.optionality == Optionality::Required;
        if let Some(missing) = self.info.positionals.iter().filter(is_required).nth(self.positionals.len()) {
            return Err(self.error(format!("missing argument <{}>", missing.name)));
        }
        if !self.positionals.is_empty() {
            self.arguments.push("--".to_owned());
            self.arguments.append(&mut self.positionals);
        }
        Ok(Invocation::Run { path: self.path, arguments: self.arguments })
    }
}

/// Returns the options of a command, or of all commands of a group.
fn flags(info: &CommandInfoWithArgs) -> Vec<&FlagInfo<'static>> {
    let own = info.flags.iter();
    own.chain(info.commands.iter().flat_map(|command| flags(&command.command))).collect()
}

/// Returns the character of a text that has only one.
fn only_char(text: &str) -> Option<char> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// Returns `; did you mean "…"?` if a name is similar enough.
fn did_you_mean<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> String {
    const MIN_SIMILARITY: f64 = 0.8;
    names
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map_or_else(String::new, |(_, name)| format!("; did you mean {name:?}?"))
}

#[cfg(test)]
mod tests;
