//! The options of every client command. argh accepts the options of a parent
//! only before the subcommand, so each command has them as fields.

use std::env;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::cli::failure::{Failure, Fields};
use crate::cli::output::Format;
use crate::config::redact;

/// The names of these options, for the help texts.
pub(in crate::cli) const COMMON_OPTIONS: [&str; 6] =
    ["--server", "--actor", "--timeout", "--output", "--no-color", "--help"];

const DEFAULT_SERVER: &str = "127.0.0.1:50051";
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
            metadata.insert("pvz-actor", actor.clone());
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
        let server = or_env(self.server, "PVZ_SERVER").unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let format = match or_env(self.output, "PVZ_OUTPUT") {
            None => Format::Table,
            Some(text) => Format::parse(&text).ok_or_else(|| {
                Failure::usage(format!("--output must be one of table, json, ndjson, not {text:?}"))
            })?,
        };
        let timeout = or_env(self.timeout, "PVZ_TIMEOUT").map(|text| timeout(&text)).transpose()?;
        let actor = or_env(self.actor, "PVZ_ACTOR").map(|text| actor(&text)).transpose()?;
        Ok(Settings {
            server: address(&server)?.to_owned(),
            actor,
            // The server ignores an invalid one.
            traceparent: or_env(None, "TRACEPARENT").and_then(|text| text.parse().ok()),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            format,
        })
    }
}

/// Returns the value of the flag, or else of the environment variable. An empty
/// value counts as absent.
fn or_env(flag: Option<String>, name: &str) -> Option<String> {
    flag.or_else(|| env::var(name).ok()).filter(|value| !value.is_empty())
}

/// Returns `host:port` from an address or an HTTP URL.
fn address(text: &str) -> Result<&str, Failure> {
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if address.contains("://") || address.contains(['/', '@']) || !matches!(port, Some(Ok(_))) {
        let text = redact(text);
        return Err(Failure::usage(format!(
            "--server must be an address such as {DEFAULT_SERVER}, not {text:?}"
        )));
    }
    Ok(address)
}

fn timeout(text: &str) -> Result<Duration, Failure> {
    match humantime::parse_duration(text) {
        Ok(timeout) if !timeout.is_zero() => Ok(timeout),
        _ => Err(Failure::usage(format!("--timeout must be a duration such as 30s or 2m, not {text:?}"))),
    }
}

/// Returns the actor as a metadata value. The server checks its form.
fn actor(text: &str) -> Result<MetadataValue<Ascii>, Failure> {
    text.parse().map_err(|_| {
        let mut fields = Fields::default();
        fields.violation("pvz-actor", "must consist of visible ASCII characters");
        fields.into_failure()
    })
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
