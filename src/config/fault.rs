//! Configuration errors and warnings, displayed without secrets.

use std::fmt;
use std::path::PathBuf;

use super::redact::redact;
use super::secret::{HIDDEN, is_secret};
use crate::domain::escape;

/// Maximum length of a value in an error message, in characters.
const ECHO_LIMIT: usize = 100;

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in default.
    Default,
    /// A line of the configuration file.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path, line) => write!(formatter, "{}:{line}", escape(&path.to_string_lossy())),
            Self::Variable(name) => formatter.write_str(&escape(name)),
            Self::Flag(name) => formatter.write_str(name),
        }
    }
}

/// A configuration error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, section, flag or file that is wrong.
    pub subject: String,
    /// The given value, without secrets.
    pub value: Option<String>,
    /// The origin of the value; `None` if the subject names it.
    pub origin: Option<Origin>,
    /// The problem, as a predicate of the subject: "must be …".
    pub problem: String,
}

impl Fault {
    pub(super) fn new(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { subject: subject.into(), value: None, origin: None, problem: problem.into() }
    }

    pub(super) fn from(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    pub(super) fn with_value(mut self, value: &toml::Value) -> Self {
        let whole = if is_secret(&self.subject) { HIDDEN.to_owned() } else { redacted(value).to_string() };
        let mut shown: String = whole.chars().take(ECHO_LIMIT).collect();
        if whole.chars().nth(ECHO_LIMIT).is_some() {
            shown.push('…');
        }
        self.value = Some(shown);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escape(&self.subject))?;
        if let Some(value) = &self.value {
            write!(formatter, " = {}", escape(value))?;
        }
        if let Some(origin) = &self.origin {
            write!(formatter, " ({origin})")?;
        }
        // The parser of TOML writes some problems in two lines.
        write!(formatter, ": {}", escape(&self.problem.trim_end().replace('\n', "; ")))
    }
}

/// All configuration errors, displayed one per line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Fault>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(formatter, "{line_break}{fault}")?;
        }
        Ok(())
    }
}

/// A configuration warning to log at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escape(&self.0))
    }
}

/// Returns the value with every secret in it replaced.
pub(super) fn redacted(value: &toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) => toml::Value::String(redact(text)),
        toml::Value::Array(items) => toml::Value::Array(items.iter().map(redacted).collect()),
        toml::Value::Table(table) => {
            let hidden = |key: &str, item| {
                if is_secret(key) { toml::Value::String(HIDDEN.to_owned()) } else { redacted(item) }
            };
            toml::Value::Table(table.iter().map(|(key, item)| (key.clone(), hidden(key, item))).collect())
        }
        other => other.clone(),
    }
}
