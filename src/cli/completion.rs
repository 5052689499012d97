//! `pvz completion` and `pvz version`.
//!
//! The script of each shell asks the program for the candidates, with `pvz __complete WORD...`. So the
//! scripts contain no commands or options, and need not be written again after an update.

mod candidates;

pub(super) use candidates::complete;

use argh::{ArgsInfo, FromArgs};

use super::failure::{Failure, Outcome};
use super::output::print_text;

/// Print a completion script for a shell: bash, zsh or fish.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "completion",
    example = "pvz completion bash > ~/.local/share/bash-completion/completions/pvz\n\
               pvz completion zsh > ~/.zfunc/_pvz\n\
               pvz completion fish > ~/.config/fish/completions/pvz.fish"
)]
pub struct Completion {
    /// the shell
    #[argh(positional, arg_name = "bash|zsh|fish")]
    shell: String,
}

impl Completion {
    pub(super) fn run(self) -> Outcome {
        let script = match self.shell.as_str() {
            "bash" => include_str!("completion/pvz.bash"),
            "zsh" => include_str!("completion/pvz.zsh"),
            "fish" => include_str!("completion/pvz.fish"),
            other => {
                let message = format!("<shell> must be one of bash, zsh, fish, not {other:?}");
                return Err(Failure::usage(message).into());
            }
        };
        print_text(script)?;
        Ok(0)
    }
}

/// Print the version.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "version")]
pub struct Version {}

impl Version {
    pub(super) fn run(self) -> Outcome {
        let Self {} = self;
        print_text(&version_text())?;
        Ok(0)
    }
}

/// `pvz` and the version of the package.
pub(super) fn version_text() -> String {
    format!("pvz {}\n", env!("CARGO_PKG_VERSION"))
}
