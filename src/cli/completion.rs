//! `pvz completion` and `pvz version`.

use argh::{ArgsInfo, CommandInfoWithArgs, FromArgs};
use argh_complete::Generator as _;

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
    /// bash, zsh or fish
    #[argh(positional)]
    shell: String,
}

impl Completion {
    pub(super) fn run(self, info: &CommandInfoWithArgs) -> Outcome {
        let script = match self.shell.as_str() {
            "bash" => argh_complete::bash::Bash::generate("pvz", info),
            "zsh" => argh_complete::zsh::Zsh::generate("pvz", info),
            "fish" => argh_complete::fish::Fish::generate("pvz", info),
            other => {
                let message = format!("<shell> must be one of bash, zsh, fish, not {other:?}");
                return Err(Failure::usage(message).into());
            }
        };
        print_text(&script)?;
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
