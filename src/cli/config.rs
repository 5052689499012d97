//! `pvz config`: shows, checks or prints a template of the configuration. Also
//! the flags that every command with a configuration takes.

use std::ffi::OsString;

use argh::{ArgsInfo, FromArgs};

use super::errors::printed;
use super::escape::plain;
use super::output::print_text;
use super::stderr;
use crate::config::{self, Config, ConfigErrors, Loaded, Sources};

/// Exit code for a faulty configuration, the same as for other wrong input.
pub const EXIT_FAULTY: u8 = 2;

/// Declares a command with the flags that set configuration keys: doc comment,
/// attributes and name as for any argh struct, further fields in the braces.
/// The command gets `fn sources(&self) -> Sources`.
macro_rules! configured_command {
    ($(#[$attribute:meta])* pub struct $name:ident { $($field:tt)* }) => {
        #[derive(Debug, Clone, PartialEq, argh::FromArgs, argh::ArgsInfo)]
        $(#[$attribute])*
        pub struct $name {
            /// the store (default: sqlite in the data directory)
            #[argh(option, arg_name = "sqlite:FILE|postgres://…|memory:")]
            pub store: Option<String>,
            /// the cache in front of the store: moka: or none:
            #[argh(option, arg_name = "url")]
            pub cache: Option<String>,
            /// where events are published, Kafka as kafka://host:port/topic (default: journal in the data
            /// directory)
            #[argh(option, arg_name = "journal:FOLDER|kafka://…|none:")]
            pub events: Option<String>,
            /// the address of gRPC (default 127.0.0.1:50051)
            #[argh(option, arg_name = "address:port")]
            pub grpc_addr: Option<String>,
            /// the address of REST (default 127.0.0.1:8081)
            #[argh(option, arg_name = "address:port")]
            pub http_addr: Option<String>,
            /// the address of metrics and readiness (default 127.0.0.1:9464; consume: 127.0.0.1:9465)
            #[argh(option, arg_name = "address:port")]
            pub admin_addr: Option<String>,
            /// the folder for data files (default: the data directory of the platform)
            #[argh(option, arg_name = "folder")]
            pub data_dir: Option<String>,
            /// a TOML configuration file; `pvz config template` prints a template
            #[argh(option, arg_name = "file")]
            pub config: Option<String>,
            $($field)*
        }

        impl $name {
            /// Returns the configuration sources of this command.
            pub fn sources(&self) -> $crate::config::Sources {
                $crate::cli::config::sources([
                    ("--store", &self.store),
                    ("--cache", &self.cache),
                    ("--events", &self.events),
                    ("--grpc-addr", &self.grpc_addr),
                    ("--http-addr", &self.http_addr),
                    ("--admin-addr", &self.admin_addr),
                    ("--data-dir", &self.data_dir),
                    ("--config", &self.config),
                ])
            }
        }
    };
}
pub(crate) use configured_command;

/// Returns the given flags, the environment of this process, and the data
/// directory of the platform.
pub(crate) fn sources<'a>(flags: impl IntoIterator<Item = (&'static str, &'a Option<String>)>) -> Sources {
    let given = |(flag, value): (_, &Option<String>)| value.clone().map(|value| (flag, value));
    Sources {
        flags: flags.into_iter().filter_map(given).collect(),
        env: std::env::vars_os().collect::<Vec<(OsString, OsString)>>(),
        data_dir: directories::ProjectDirs::from("", "", "pvz").map(|folders| folders.data_dir().to_owned()),
    }
}

/// Show or check the configuration, or print a template of the file. Without a command, shows it.
#[derive(Debug, Clone, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "config")]
pub struct ConfigCommand {
    #[argh(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Clone, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Action {
    Show(Show),
    Check(Check),
    Template(Template),
}

self::configured_command! {
    /// Print the effective configuration as TOML, with the source of each value. Secrets are hidden.
    #[argh(subcommand, name = "show")]
    pub struct Show {}
}

self::configured_command! {
    /// Check the configuration. Prints every fault, and exits with 2 if there is any.
    #[argh(subcommand, name = "check")]
    pub struct Check {}
}

/// Print a configuration file with every key, its meaning and its default.
#[derive(Debug, Clone, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "template")]
pub struct Template {}

impl ConfigCommand {
    /// Runs the command and returns the exit code.
    pub fn run(self) -> u8 {
        match self.action {
            None => show(&sources([])),
            Some(Action::Show(command)) => show(&command.sources()),
            Some(Action::Check(command)) => check(&command.sources()),
            Some(Action::Template(_)) => print(&config::template()),
        }
    }
}

fn show(sources: &Sources) -> u8 {
    load(sources).map_or_else(|code| code, |loaded| print(&loaded.show()))
}

fn check(sources: &Sources) -> u8 {
    load(sources).map_or_else(|code| code, |_| print("the configuration is valid\n"))
}

/// Loads the configuration. Prints warnings and faults on standard error.
///
/// # Errors
/// The configuration is invalid; the error is the exit code.
pub fn load(sources: &Sources) -> Result<Loaded, u8> {
    match Config::load_with_origins(sources) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                stderr::line(plain(&format!("warning: {warning}")));
            }
            Ok(loaded)
        }
        Err(faults) => {
            report_faults(&faults);
            Err(EXIT_FAULTY)
        }
    }
}

/// Prints every fault on standard error.
pub fn report_faults(ConfigErrors(faults): &ConfigErrors) {
    for fault in faults {
        stderr::line(plain(&format!("error: {fault}")));
    }
}

/// Prints on standard output and returns the exit code.
fn print(text: &str) -> u8 {
    printed(print_text(text), 0)
}

#[cfg(test)]
mod tests {
    use argh::FromArgs as _;

    use super::{Action, ConfigCommand};
    use crate::config::FLAGS;

    #[test]
    fn every_flag_is_a_source() {
        // Only `serve` has the first two, and only `consume` has --inbox.
        let own = ["--migrate", "--allow-empty-store", "--inbox"];
        let flags = || FLAGS.map(|(flag, _)| flag).into_iter().filter(|flag| !own.contains(flag));
        let mut arguments = vec!["show", "--config", "a.toml"];
        arguments.extend(flags().flat_map(|flag| [flag, "x"]));
        let command = ConfigCommand::from_args(&["pvz", "config"], &arguments).unwrap();
        let Some(Action::Show(show)) = command.action else { panic!("not show") };
        let mut given: Vec<&str> = show.sources().flags.into_iter().map(|(flag, _)| flag).collect();
        given.retain(|flag| *flag != "--config");
        assert_eq!(given, flags().collect::<Vec<_>>());
    }

    #[test]
    fn the_default_action_is_show() {
        assert_eq!(ConfigCommand::from_args(&["pvz", "config"], &[]).unwrap().action, None);
    }
}
