//! The options of every client command. argh accepts the options of a parent
//! only before the subcommand, so each command has them as fields.

use std::env;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::cli::failure::{Failure, rejected};
use crate::cli::output::Format;

/// The names of these options, for the help texts.
pub(in crate::cli) const COMMON_OPTIONS: [&str; 6] =
    ["--server", "--actor", "--timeout", "--output", "--no-color", "--help"];

/// The metadata key of the actor.
pub(in crate::cli) const ACTOR_HEADER: &str = "pvz-actor";
pub(super) const DEFAULT_SERVER: &str = "127.0.0.1:50051";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Defines a command with its own options, followed by the common options.
macro_rules! client_command {
    ($(#[$($meta:tt)*])* pub struct $name:ident { $($fields:tt)* }) => {
        #[derive(Debug, argh::FromArgs, argh::ArgsInfo)]
        $(#[$($meta)*])*
        pub struct $name {
            $($fields)*
            /// the address of the server, host:port (default 127.0.0.1:50051; PVZ_SERVER)
            #[argh(option, arg_name = "address")]
            server: Option<String>,
            /// the actor, kind:id; the kind is courier, operator, customer or system (default
            /// operator:anonymous; PVZ_ACTOR)
            #[argh(option, arg_name = "kind:id")]
            actor: Option<String>,
            /// how long to wait for a response, including retries (default 30s; PVZ_TIMEOUT)
            #[argh(option, arg_name = "duration")]
            timeout: Option<String>,
            /// the output format (default table; PVZ_OUTPUT)
            #[argh(option, short = 'o', arg_name = "table|json|ndjson")]
            output: Option<String>,
            /// print no colours, even on a terminal (NO_COLOR, PVZ_NO_COLOR)
            #[argh(switch)]
            no_color: bool,
        }

        impl $name {
            /// Takes the common options.
            fn common(&mut self) -> $crate::cli::client::Common {
                $crate::cli::client::Common {
                    server: self.server.take(),
                    actor: self.actor.take(),
                    timeout: self.timeout.take(),
                    output: self.output.take(),
                    no_color: self.no_color,
                }
            }
        }
    };
}
pub(in crate::cli) use client_command;

/// The common options, as given.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Common {
    pub server: Option<String>,
    pub actor: Option<String>,
    pub timeout: Option<String>,
    pub output: Option<String>,
    pub no_color: bool,
}

/// The common options, checked.
#[derive(Debug)]
pub(in crate::cli) struct Settings {
    /// `host:port`.
    pub server: String,
    actor: Option<MetadataValue<Ascii>>,
    /// The trace that this command belongs to.
    traceparent: Option<MetadataValue<Ascii>>,
    /// Time for an answer, including retries.
    pub timeout: Duration,
    pub format: Format,
}

impl Settings {
    /// Returns the metadata of every call.
    pub(in crate::cli) fn metadata(&self) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        if let Some(actor) = &self.actor {
            metadata.insert(ACTOR_HEADER, actor.clone());
        }
        if let Some(traceparent) = &self.traceparent {
            metadata.insert("traceparent", traceparent.clone());
        }
        metadata
    }
}

impl Common {
    /// Returns `quiet`, unless an output format was given too. The format of the environment does not count.
    pub(in crate::cli) fn quiet(&self, quiet: bool) -> Result<bool, Failure> {
        if quiet && self.output.is_some() {
            return Err(Failure::usage("--quiet prints only ids and cannot be combined with --output"));
        }
        Ok(quiet)
    }

    /// Checks the options; where one is not given, the environment or the default
    /// takes effect.
    pub(in crate::cli) fn resolve(self) -> Result<Settings, Failure> {
        if self.no_color || env::var_os("PVZ_NO_COLOR").is_some_and(|value| !value.is_empty()) {
            anstream::ColorChoice::Never.write_global();
        }
        let server = given("--server", self.server, "PVZ_SERVER", address)?;
        let format = given("--output", self.output, "PVZ_OUTPUT", |text| {
            Format::parse(text).ok_or_else(|| "must be one of table, json, ndjson".to_owned())
        })?;
        let timeout = given("--timeout", self.timeout, "PVZ_TIMEOUT", timeout)?;
        let actor = given("--actor", self.actor, "PVZ_ACTOR", actor)?;
        Ok(Settings {
            server: server.unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
            actor,
            // The server ignores an invalid one.
            traceparent: env::var("TRACEPARENT").ok().and_then(|text| text.parse().ok()),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            format: format.unwrap_or(Format::Table),
        })
    }
}

/// Parses the value of the flag, or else of the environment variable. An empty value
/// counts as absent. The failure names the one that is wrong.
fn given<T>(
    flag: &str,
    value: Option<String>,
    variable: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Failure> {
    let from = if value.is_some() { flag } else { variable };
    let value = value.or_else(|| env::var(variable).ok()).filter(|value| !value.is_empty());
    let parsed = value.map(|text| {
        parse(&text).map_err(|fault| Failure::usage(format!("{from} {}", rejected(&fault, &text))))
    });
    parsed.transpose()
}

/// Returns `host:port` from an address or an HTTP URL.
fn address(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if address.contains("://") || address.contains(['/', '@']) || !matches!(port, Some(Ok(_))) {
        return Err(format!("must be an address such as {DEFAULT_SERVER}"));
    }
    Ok(address.to_owned())
}

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if !timeout.is_zero() => Ok(timeout),
        _ => Err("must be a duration such as 30s or 2m".to_owned()),
    }
}

/// Returns the actor as a metadata value. The server checks its form.
fn actor(text: &str) -> Result<MetadataValue<Ascii>, String> {
    if text.chars().all(|character| character.is_ascii_graphic() || character == ' ')
        && let Ok(actor) = text.parse()
    {
        return Ok(actor);
    }
    Err("must be kind:id in visible ASCII characters, such as courier:7".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_have_a_scheme() {
        for text in ["localhost:1", "http://localhost:1", "http://localhost:1/"] {
            assert_eq!(address(text).unwrap(), "localhost:1");
        }
        assert_eq!(address("[::1]:50051").unwrap(), "[::1]:50051");
        for text in ["", "localhost", "https://localhost:1", "localhost:port", "localhost:1/x", "::"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_timeout_must_be_positive() {
        assert_eq!(timeout("1m 30s").unwrap(), Duration::from_secs(90));
        assert!(timeout("0s").is_err());
        assert!(timeout("soon").is_err());
    }
}
