//! What stands between the shell and argh, which knows neither `--opt=value`
//! nor `--version`, takes `-` for an option and exits with 1 on wrong usage.
//!
//! The arguments are checked against the description of the commands that argh
//! derives, and handed on in the one form that argh reads without surprises:
//! command, options, `--`, positional arguments.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, PositionalInfo};

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    /// A command.
    Run {
        /// Its name, with that of its parents.
        path: Vec<String>,
        /// The arguments for argh.
        arguments: Vec<String>,
    },
    /// The help of the command with that path.
    Help(Vec<String>),
    /// The version.
    Version,
}

/// Arguments that make no sense.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError {
    path: Vec<String>,
    message: String,
}

impl UsageError {
    /// From what argh says.
    pub(super) fn from_argh(path: Vec<String>, message: &str) -> Self {
        Self { path, message: message.trim().to_owned() }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command: String = self.path.iter().flat_map(|name| [" ", name.as_str()]).collect();
        write!(formatter, "error: {}\nrun 'pvz{command} --help' to see what there is", self.message)
    }
}

/// Checks the arguments and puts them in order for argh.
///
/// # Errors
/// An unknown or repeated option or command, an option without its value, an
/// argument too many or one that is not UTF-8.
pub(super) fn prepare(
    root: &CommandInfoWithArgs,
    arguments: impl Iterator<Item = OsString>,
) -> Result<Invocation, UsageError> {
    let mut walk = Walk::new(root);
    let mut texts = Vec::new();
    for argument in arguments {
        let text = argument.into_string().map_err(|argument| {
            walk.fault(format!("the argument {:?} is not UTF-8", argument.to_string_lossy()))
        })?;
        texts.push(text);
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

/// The way through the tree of commands.
struct Walk<'a> {
    info: &'a CommandInfoWithArgs,
    path: Vec<String>,
    arguments: Vec<String>,
    positionals: Vec<String>,
    seen: BTreeSet<&'a str>,
}

impl<'a> Walk<'a> {
    fn new(info: &'a CommandInfoWithArgs) -> Self {
        Self { info, path: Vec::new(), arguments: Vec::new(), positionals: Vec::new(), seen: BTreeSet::new() }
    }

    fn fault(&self, message: String) -> UsageError {
        UsageError { path: self.path.clone(), message }
    }

    fn command(&mut self, name: &str) -> Result<(), UsageError> {
        let Some(found) = self.info.commands.iter().find(|command| command.name == name) else {
            let names = self.info.commands.iter().map(|command| command.name);
            return Err(self.fault(format!("unknown command {name:?}{}", did_you_mean(name, names))));
        };
        self.info = &found.command;
        self.seen.clear();
        self.path.push(name.to_owned());
        self.arguments.push(name.to_owned());
        Ok(())
    }

    fn positional(&mut self, text: String) -> Result<(), UsageError> {
        let takes_many =
            self.info.positionals.iter().any(|positional| {
                matches!(positional.optionality, Optionality::Repeating | Optionality::Greedy)
            });
        if self.positionals.len() >= self.info.positionals.len() && !takes_many {
            return Err(self.fault(format!("unexpected argument {text:?}")));
        }
        self.positionals.push(text);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&'a FlagInfo<'static>> {
        let short = match name.strip_prefix('-').map(str::as_bytes) {
            Some([letter]) if *letter != b'-' => Some(char::from(*letter)),
            _ => None,
        };
        self.info.flags.iter().find(|flag| flag.long == name || (short.is_some() && flag.short == short))
    }

    /// Whether a text is one of this command's options, so that it is not
    /// taken for the value of the option before it.
    fn is_option(&self, text: &str) -> bool {
        matches!(text, "--" | "-h")
            || self.find(text.split_once('=').map_or(text, |(name, _)| name)).is_some()
    }

    /// Takes an option; returns whether `next` was its value.
    fn option(&mut self, text: &str, next: Option<String>) -> Result<bool, UsageError> {
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some(flag) = self.find(name) else {
            let names = self.info.flags.iter().map(|flag| flag.long);
            return Err(self.fault(format!("unknown option {name:?}{}", did_you_mean(name, names))));
        };
        let may_repeat = matches!(flag.optionality, Optionality::Repeating);
        if !self.seen.insert(flag.long) && !may_repeat {
            return Err(self.fault(format!("{} was given twice", flag.long)));
        }
        self.arguments.push(flag.long.to_owned());
        match (&flag.kind, inline) {
            (FlagInfoKind::Switch, None) => Ok(false),
            (FlagInfoKind::Switch, Some(_)) => Err(self.fault(format!("{} takes no value", flag.long))),
            (FlagInfoKind::Option { .. }, Some(value)) => {
                self.arguments.push(value);
                Ok(false)
            }
            (FlagInfoKind::Option { .. }, None) => match next {
                Some(value) if !self.is_option(&value) => {
                    self.arguments.push(value);
                    Ok(true)
                }
                _ => Err(self.fault(format!("{} needs a value", flag.long))),
            },
        }
    }

    fn finish(mut self) -> Result<Invocation, UsageError> {
        if self.path.is_empty() {
            return Err(self.fault("a command is needed".to_owned()));
        }
        let is_required = |positional: &&PositionalInfo<'_>| positional.optionality == Optionality::Required;
        if let Some(missing) = self.info.positionals.iter().filter(is_required).nth(self.positionals.len()) {
            return Err(self.fault(format!("<{}> is needed", missing.name)));
        }
        if !self.positionals.is_empty() {
            self.arguments.push("--".to_owned());
            self.arguments.append(&mut self.positionals);
        }
        Ok(Invocation::Run { path: self.path, arguments: self.arguments })
    }
}

/// `; did you mean "…"?`, when a name is near enough.
fn did_you_mean<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> String {
    const NEAR: f64 = 0.8;
    names
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(nearness, _)| *nearness >= NEAR)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map_or_else(String::new, |(_, name)| format!("; did you mean {name:?}?"))
}

#[cfg(test)]
mod tests;
