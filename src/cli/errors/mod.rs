//! Prints failures on standard error: as text for people, or as one JSON object for
//! programs that asked for JSON.

mod flags;
mod json;
mod text;

use std::ffi::OsString;
use std::io;

use argh::CommandInfoWithArgs;

use self::flags::Flags;
use super::args::UsageError;
use super::failure::{Failure, Outcome, Stop};
use super::output::Format;
use super::stderr;

/// The way in which an invocation reports its failures.
#[derive(Debug, Default)]
pub struct ErrorStyle {
    is_json: bool,
    flags: Flags,
}

impl ErrorStyle {
    /// Returns the style that the arguments ask for, even if they are wrong. `PVZ_OUTPUT`
    /// counts if they do not say.
    pub(super) fn of_arguments(arguments: &[OsString]) -> Self {
        let format = format_option(arguments)
            .or_else(|| std::env::var("PVZ_OUTPUT").ok().and_then(|name| Format::parse(&name)));
        Self { is_json: matches!(format, Some(Format::Json | Format::Ndjson)), flags: Flags::default() }
    }

    /// Returns the style of a command: its messages name its own flags, and they are text if
    /// the command has no output format.
    pub(super) fn of_command(self, root: &CommandInfoWithArgs, path: &[String]) -> Self {
        let mut info = root;
        for name in path {
            if let Some(found) = info.commands.iter().find(|command| command.name == name) {
                info = &found.command;
            }
        }
        let is_group = !info.commands.is_empty();
        let has_format = is_group || info.flags.iter().any(|flag| flag.long == "--output");
        Self { is_json: self.is_json && has_format, flags: Flags::of(info) }
    }

    /// Prints the failure, if there is one, and returns the exit code.
    pub(super) fn exit_code(&self, outcome: Outcome) -> u8 {
        match outcome {
            Ok(exit) => exit,
            Err(Stop::Failure(failure)) => self.print(&failure),
            Err(Stop::Several(failures)) => failures.iter().fold(0, |_, failure| self.print(failure)),
            Err(Stop::Output(error)) => self.printed(Err(error), 0),
        }
    }

    /// Returns the exit code of a command that has done its work and printed the
    /// result. A closed pipe is not a failure: its reader has read enough. Any other
    /// error of standard output is reported, and a success becomes a failure.
    fn printed(&self, result: io::Result<()>, exit: u8) -> u8 {
        match result {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let failure = Failure::unprinted(format!("cannot write to standard output: {error}"));
                let failed = self.print(&failure);
                if exit == 0 { failed } else { exit }
            }
            _ => exit,
        }
    }

    /// Prints wrong usage, and returns the exit code.
    pub(super) fn usage(&self, error: &UsageError) -> u8 {
        self.print(&Failure::usage(error.message()).advise(error.advice()))
    }

    fn print(&self, failure: &Failure) -> u8 {
        let text = if self.is_json {
            json::render(failure, &self.flags)
        } else {
            text::render(failure, &self.flags)
        };
        stderr::line(text.trim_end());
        failure.exit
    }
}

/// Returns the exit code of an operator command that has done its work and printed the result.
pub(super) fn printed(result: io::Result<()>, exit: u8) -> u8 {
    ErrorStyle::default().printed(result, exit)
}

/// Returns the value of the option `--output`, if it is known. The last one counts.
fn format_option(arguments: &[OsString]) -> Option<Format> {
    let mut format = None;
    let mut texts = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(text) = texts.next() {
        if text == "--" {
            break;
        }
        let Some(value) = text.strip_prefix("--output").or_else(|| text.strip_prefix("-o")) else { continue };
        let value = match value {
            "" => texts.next().unwrap_or_default().into_owned(),
            value => value.strip_prefix('=').unwrap_or(value).to_owned(),
        };
        format = Format::parse(&value).or(format);
    }
    format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_recognised_among_wrong_arguments() {
        for (line, format) in [
            ("isue --output=json", Some(Format::Json)),
            ("get --output ndjson --bogus", Some(Format::Ndjson)),
            ("-o json get", Some(Format::Json)),
            ("get -ojson", Some(Format::Json)),
            ("get --output=json --output=table", Some(Format::Table)),
            ("get --output=yaml", None),
            ("get --output", None),
            ("get -- --output=json", None),
            ("get --output-file=json", None),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(format_option(&arguments), format, "{line}");
        }
    }
}
