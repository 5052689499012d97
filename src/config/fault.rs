//! Configuration errors and warnings, displayed without secrets.

use std::fmt;
use std::path::PathBuf;

use super::secret::{HIDDEN, is_secret};

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
            Self::File(path, line) => write!(formatter, "{}:{line}", path.display()),
            Self::Variable(name) => formatter.write_str(name),
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
        let mut shown = String::new();
        for character in whole.chars().take(ECHO_LIMIT) {
            // An error message is a single line.
            if character.is_control() {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        if whole.chars().nth(ECHO_LIMIT).is_some() {
            shown.push('…');
        }
        self.value = Some(shown);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.subject)?;
        if let Some(value) = &self.value {
            write!(formatter, " = {value}")?;
        }
        if let Some(origin) = &self.origin {
            write!(formatter, " ({origin})")?;
        }
        write!(formatter, ": {}", self.problem)
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
        formatter.write_str(&self.0)
    }
}

/// Returns the value with every secret in it replaced.
pub(super) fn redacted(value: &toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) => toml::Value::String(redact(text)),
        toml::Value::Array(items) => toml::Value::Array(items.iter().map(redacted).collect()),
        toml::Value::Table(table) => {
            toml::Value::Table(table.iter().map(|(key, item)| (key.clone(), redacted(item))).collect())
        }
        other => other.clone(),
    }
}

/// Replaces the password of a URL. A password with an unescaped `@`, `/` or `?`
/// makes the URL invalid, but is hidden too.
pub(super) fn redact(text: &str) -> String {
    let mut shown = text.to_owned();
    if let Some(scheme) = text.find("://") {
        let start = scheme + "://".len();
        if let Some(at) = text[start..].rfind('@').map(|at| start + at)
            && let Some(colon) = text[start..at].find(':').map(|colon| start + colon)
        {
            shown.replace_range(colon + 1..at, "***");
        }
    }
    hide_parameters(&shown)
}

/// Replaces the values of query parameters whose name contains "password".
fn hide_parameters(text: &str) -> String {
    let Some((head, query)) = text.split_once('?') else { return text.to_owned() };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}=***"),
            _ => parameter.to_owned(),
        })
        .collect();
    format!("{head}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn passwords_are_hidden_and_nothing_else() {
        for (given, shown) in [
            ("postgres://pvz:hunter2@db:5432/pvz", "postgres://pvz:***@db:5432/pvz"),
            ("postgres://pvz:a@b/c?d:e@db/pvz", "postgres://pvz:***@db/pvz"),
            ("redis://:hunter2@cache", "redis://:***@cache"),
            (
                "postgres://db/pvz?sslmode=on&Password=x&user=y",
                "postgres://db/pvz?sslmode=on&Password=***&user=y",
            ),
            ("postgres://pvz@db/pvz", "postgres://pvz@db/pvz"),
            ("kafka://one:9092,two:9092/topic", "kafka://one:9092,two:9092/topic"),
            ("sqlite:/srv/a@b.db", "sqlite:/srv/a@b.db"),
        ] {
            assert_eq!(redact(given), shown);
        }
    }
}
