//! `pvz config`: what is in effect, whether it is right, and a file to start
//! from. Also the flags that every command with a configuration takes.

use std::ffi::OsString;
use std::io::{self, Write};

use argh::{ArgsInfo, FromArgs};

use crate::config::{self, Config, ConfigErrors, Loaded, Sources};

/// The exit code of a configuration that has faults, as of any other wrong
/// input.
pub const EXIT_FAULTY: u8 = 2;

/// Declares a command with the flags that set configuration keys: doc comment,
/// attributes and name as for any argh struct, further fields in the braces.
/// The command gets `fn sources(&self) -> Sources`.
macro_rules! configured_command {
    ($(#[$attribute:meta])* pub struct $name:ident { $($field:tt)* }) => {
        #[derive(Debug, Clone, PartialEq, argh::FromArgs, argh::ArgsInfo)]
        $(#[$attribute])*
        pub struct $name {
            /// where orders are kept: sqlite:PATH, postgres://… or memory:
            #[argh(option, arg_name = "url")]
            pub store: Option<String>,
            /// what orders are read from first: none:
            #[argh(option, arg_name = "url")]
            pub cache: Option<String>,
            /// where events are sent: journal:DIR, kafka://host:port/topic or none:
            #[argh(option, arg_name = "url")]
            pub events: Option<String>,
            /// where gRPC listens, default 127.0.0.1:50051
            #[argh(option, arg_name = "address:port")]
            pub grpc_addr: Option<String>,
            /// where REST listens, default 127.0.0.1:8081
            #[argh(option, arg_name = "address:port")]
            pub http_addr: Option<String>,
            /// where metrics and readiness listen, default 127.0.0.1:9464
            /// (consume: 9465)
            #[argh(option, arg_name = "address:port")]
            pub admin_addr: Option<String>,
            /// the folder for our files, default the platform's
            #[argh(option, arg_name = "folder")]
            pub data_dir: Option<String>,
            /// a TOML file; `pvz config template` prints one
            #[argh(option, arg_name = "file")]
            pub config: Option<String>,
            $($field)*
        }

        impl $name {
            /// Where this command's configuration comes from.
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

/// The flags given, this process's environment, and the platform's folder.
pub(crate) fn sources<'a>(flags: impl IntoIterator<Item = (&'static str, &'a Option<String>)>) -> Sources {
    let given = |(flag, value): (_, &Option<String>)| value.clone().map(|value| (flag, value));
    Sources {
        flags: flags.into_iter().filter_map(given).collect(),
        env: std::env::vars_os().collect::<Vec<(OsString, OsString)>>(),
        data_dir: directories::ProjectDirs::from("", "", "pvz").map(|folders| folders.data_dir().to_owned()),
    }
}

/// Shows or checks the configuration, or prints a file to start from.
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
    /// Prints the configuration in effect as TOML, each key with where it came
    /// from, secrets hidden.
    #[argh(subcommand, name = "show")]
    pub struct Show {}
}

self::configured_command! {
    /// Checks the configuration: prints every fault and exits with 2 if there
    /// is one.
    #[argh(subcommand, name = "check")]
    pub struct Check {}
}

/// Prints a file with every key, its meaning and its default.
#[derive(Debug, Clone, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "template")]
pub struct Template {}

impl ConfigCommand {
    /// Does it, on standard output and standard error; returns the exit code.
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

/// Reads the configuration, with warnings and faults on standard error, for
/// commands without logs; `Err` is the exit code.
///
/// # Errors
/// When it has faults.
pub fn load(sources: &Sources) -> Result<Loaded, u8> {
    match Config::load_with_origins(sources) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(&format!("warning: {warning}"));
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
        complain(&format!("error: {fault}"));
    }
}

/// A reader that went away is no failure of ours: `pvz config show | head`.
fn print(text: &str) -> u8 {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("error: standard output cannot be written: {error}"));
            1
        }
        _ => 0,
    }
}

/// Who cannot read standard error cannot be told so either.
fn complain(line: &str) {
    _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use argh::FromArgs as _;

    use super::{Action, ConfigCommand};
    use crate::config::FLAGS;

    #[test]
    fn every_flag_is_a_source() {
        // Whether to migrate is for `serve` to be told, the inbox for `consume`.
        let own = ["--migrate", "--inbox"];
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
    fn without_a_word_it_shows() {
        assert_eq!(ConfigCommand::from_args(&["pvz", "config"], &[]).unwrap().action, None);
    }
}
