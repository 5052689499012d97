//! The candidates for a word of the command line, from the command descriptions that argh derives.
//!
//! The name of a value says which values there are: alternatives are separated by `|`, and `,…`
//! after them means a list. The literal part of an alternative is completed; a part in capitals
//! stands for any value (`earliest|latest|INSTANT`), `FILE` and `FOLDER` for the path of one
//! (`sqlite:FILE`). The values `file`, `folder` and `command` are completed as well.

use std::fmt::Write as _;

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind};

use crate::cli::args::VERSION_FLAG;
use crate::cli::help::{is_common, summary};

/// The candidates for a word.
#[derive(Debug, Default, PartialEq, Eq)]
struct Candidates {
    kind: Kind,
    /// Whole words, each with a description.
    words: Vec<(String, String)>,
}

/// The kind of the candidates.
#[derive(Debug, Default, PartialEq, Eq)]
enum Kind {
    /// The listed words.
    #[default]
    Words,
    /// Paths of files, which the shell lists. They follow this part of the word.
    Files(String),
    /// Paths of folders, likewise.
    Folders(String),
}

impl Candidates {
    fn words(words: impl Iterator<Item = String>) -> Self {
        Self { kind: Kind::Words, words: words.map(|word| (word, String::new())).collect() }
    }

    fn paths(kind: Kind) -> Self {
        Self { kind, words: Vec::new() }
    }

    /// Returns a line with the kind, and a line for each word: the word, a tab, its description.
    fn lines(&self) -> String {
        let mut text = match &self.kind {
            Kind::Words => "words \n".to_owned(),
            Kind::Files(before) => format!("files {before}\n"),
            Kind::Folders(before) => format!("folders {before}\n"),
        };
        for (word, description) in &self.words {
            let _ = writeln!(text, "{word}\t{description}");
        }
        text
    }
}

/// Returns the candidates for the last word, as lines that the completion scripts read. `words` are
/// those after the name of the program, up to the cursor.
pub(in crate::cli) fn complete(root: &CommandInfoWithArgs, words: &[String]) -> String {
    let Some((current, before)) = words.split_last() else { return String::new() };
    let mut line = Line::new(root);
    for word in before {
        line.read(word);
    }
    line.candidates(current).lines()
}

/// The command line before the word to complete.
struct Line<'a> {
    root: &'a CommandInfoWithArgs,
    info: &'a CommandInfoWithArgs,
    /// True below `pvz help`.
    help: bool,
    /// The option whose value is the next word.
    awaits_value: Option<&'a FlagInfo<'static>>,
    /// True after `--`.
    only_positionals: bool,
    given: Vec<&'a str>,
    positionals: Vec<String>,
    /// True after a word that is no command. Nothing can follow it.
    unknown: bool,
}

impl<'a> Line<'a> {
    fn new(root: &'a CommandInfoWithArgs) -> Self {
        Self {
            root,
            info: root,
            help: false,
            awaits_value: None,
            only_positionals: false,
            given: Vec::new(),
            positionals: Vec::new(),
            unknown: false,
        }
    }

    fn read(&mut self, word: &str) {
        if self.awaits_value.take().is_some() {
            return;
        }
        match word {
            "--" => self.only_positionals = true,
            "help" if !self.info.commands.is_empty() => self.help = true,
            option if option.starts_with('-') && option != "-" && !self.only_positionals => {
                let Some((flag, inline)) = self.split(option) else { return };
                self.given.push(flag.long);
                let takes_value = matches!(flag.kind, FlagInfoKind::Option { .. });
                self.awaits_value = Some(flag).filter(|_| takes_value && inline.is_none());
            }
            name if !self.info.commands.is_empty() => {
                match self.info.commands.iter().find(|command| command.name == name) {
                    Some(found) => self.info = &found.command,
                    None => self.unknown = true,
                }
            }
            positional => self.positionals.push(positional.to_owned()),
        }
    }

    fn candidates(&self, current: &str) -> Candidates {
        if self.unknown {
            return Candidates::default();
        }
        if let Some(flag) = self.awaits_value {
            return self.values(value_name(flag), "", current);
        }
        if current.starts_with('-') && !self.only_positionals && !self.help {
            return match self.split(current) {
                Some((flag, Some((before, value)))) => self.values(value_name(flag), before, value),
                _ => self.flags(current),
            };
        }
        if !self.info.commands.is_empty() {
            return commands(self.info);
        }
        let positional = self.info.positionals.get(self.positionals.len()).or(self.info.positionals.last());
        let found = positional
            .map(|positional| self.values(positional.name, "", current))
            .filter(|found| *found != Candidates::default());
        found.unwrap_or_else(|| if self.help { Candidates::default() } else { self.flags(current) })
    }

    /// Returns the options of the command. Those of all client commands may also precede it.
    fn options(&self) -> Vec<&'a FlagInfo<'static>> {
        let mut options: Vec<&FlagInfo<'_>> = self.info.flags.iter().collect();
        for command in &self.info.commands {
            for flag in flags(&command.command).into_iter().filter(|flag| is_common(flag)) {
                if options.iter().all(|known| known.long != flag.long) {
                    options.push(flag);
                }
            }
        }
        options
    }

    /// Returns the option that a word names, and the value in the same word with what precedes it:
    /// `--output=json`, `-o=json` or `-ojson`.
    fn split<'w>(&self, word: &'w str) -> Option<(&'a FlagInfo<'static>, Option<(&'w str, &'w str)>)> {
        let options = self.options();
        let find = |name: &str| {
            let short = name.strip_prefix('-').map(str::as_bytes);
            options.iter().copied().find(|flag| {
                let is_short = |letter: char| matches!(short, Some([byte]) if char::from(*byte) == letter);
                flag.long == name || flag.short.is_some_and(is_short)
            })
        };
        if let Some(flag) = find(word) {
            return Some((flag, None));
        }
        let end = word.find('=').unwrap_or(word.len());
        if let Some(flag) = find(&word[..end]) {
            return Some((flag, Some(word.split_at((end + 1).min(word.len())))));
        }
        let (end, _) = word.char_indices().nth(2)?;
        let flag = find(&word[..end])?;
        matches!(flag.kind, FlagInfoKind::Option { .. }).then(|| (flag, Some(word.split_at(end))))
    }

    /// Returns the options that are not given yet.
    fn flags(&self, current: &str) -> Candidates {
        let version = std::iter::once(&VERSION_FLAG).filter(|_| std::ptr::eq(self.info, self.root));
        let options = self.options().into_iter().chain(version);
        let repeats = |flag: &FlagInfo<'_>| flag.optionality == argh::Optionality::Repeating;
        let offered = options
            .filter(|flag| !flag.hidden && (repeats(flag) || !self.given.contains(&flag.long)))
            .flat_map(|flag| {
                let long = match flag.kind {
                    FlagInfoKind::Switch => flag.long.to_owned(),
                    FlagInfoKind::Option { .. } => format!("{}=", flag.long),
                };
                let short = flag.short.filter(|_| current == "-").map(|short| format!("-{short}"));
                short.into_iter().chain([long]).map(|name| (name, summary(flag.description).to_owned()))
            });
        Candidates { kind: Kind::Words, words: offered.collect() }
    }

    /// Returns the values with that name. `before` is the part of the word before the value.
    fn values(&self, name: &str, before: &str, given: &str) -> Candidates {
        match name {
            "file" => return Candidates::paths(Kind::Files(before.to_owned())),
            "folder" => return Candidates::paths(Kind::Folders(before.to_owned())),
            "command" => {
                let mut info = self.root;
                for name in &self.positionals {
                    let Some(found) = info.commands.iter().find(|command| command.name == name) else {
                        return Candidates::default();
                    };
                    info = &found.command;
                }
                return commands(info);
            }
            _ => {}
        }
        let (alternatives, listed) = match name.strip_suffix(",…") {
            Some(alternatives) => (alternatives, given.rfind(',').map_or("", |comma| &given[..=comma])),
            None => (name, ""),
        };
        if !alternatives.contains('|') {
            return Candidates::default();
        }
        let mut words = Vec::new();
        for alternative in alternatives.split('|') {
            let literal = alternative.find(|letter: char| letter.is_ascii_uppercase() || letter == '…');
            let (literal, rest) = alternative.split_at(literal.unwrap_or(alternative.len()));
            let path = format!("{before}{literal}");
            match rest {
                "FILE" if given.starts_with(literal) => return Candidates::paths(Kind::Files(path)),
                "FOLDER" if given.starts_with(literal) => return Candidates::paths(Kind::Folders(path)),
                _ if literal.is_empty() || listed.split(',').any(|item| item == literal) => {}
                _ => words.push(format!("{before}{listed}{literal}")),
            }
        }
        Candidates::words(words.into_iter())
    }
}

/// Returns the options of a command and of its subcommands.
fn flags(info: &CommandInfoWithArgs) -> Vec<&FlagInfo<'static>> {
    let own = info.flags.iter();
    own.chain(info.commands.iter().flat_map(|command| flags(&command.command))).collect()
}

fn value_name(flag: &FlagInfo<'static>) -> &'static str {
    match flag.kind {
        FlagInfoKind::Switch => "",
        FlagInfoKind::Option { arg_name } => arg_name,
    }
}

fn commands(info: &CommandInfoWithArgs) -> Candidates {
    let command = |name: &str, description| (name.to_owned(), summary(description).to_owned());
    let words = info.commands.iter().map(|found| command(found.name, found.command.description)).collect();
    Candidates { kind: Kind::Words, words }
}

#[cfg(test)]
mod tests {
    use argh::ArgsInfo as _;

    use super::complete;
    use crate::bench::Scenario;
    use crate::cli::bench::RELAY;
    use crate::cli::orders;
    use crate::cli::output::Format;

    fn completed(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        complete(&crate::cli::Pvz::get_args_info(), &words)
    }

    fn names(line: &str) -> Vec<String> {
        let lines = completed(line);
        lines.lines().skip(1).map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn given_options_are_not_offered_again() {
        assert!(names("list -").contains(&"--all".to_owned()));
        assert!(!names("list --all -").contains(&"--all".to_owned()));
        assert!(!names("list --customer-id 1 -").contains(&"--customer-id=".to_owned()));
        assert!(!names("list --customer-id=1 -").contains(&"--customer-id=".to_owned()));
    }

    #[test]
    fn value_of_an_option_is_neither_a_command_nor_an_option() {
        assert_eq!(names("get --server "), [""; 0]);
        assert_eq!(names("migrate --store status "), ["status"]);
        assert_eq!(completed("import --server x "), "files \n");
    }

    #[test]
    fn paths_follow_the_scheme_of_a_url() {
        assert_eq!(completed("serve --store=sqlite:/srv"), "files --store=sqlite:\n");
        assert_eq!(completed("serve --store sqlite:"), "files sqlite:\n");
        assert_eq!(completed("serve --events=journal:"), "folders --events=journal:\n");
        assert_eq!(names("serve --store="), ["--store=sqlite:", "--store=postgres://", "--store=memory:"]);
    }

    #[test]
    fn items_of_a_list_are_offered_once() {
        assert_eq!(
            names("list --states=stored,issued,"),
            ["--states=stored,issued,returned", "--states=stored,issued,handed_to_courier"]
        );
    }

    #[test]
    fn values_are_those_that_the_commands_take() {
        let values = |line: &str| -> Vec<String> {
            names(line).iter().map(|word| word.rsplit('=').next().unwrap().to_owned()).collect()
        };
        assert!(values("list --output=").iter().all(|name| Format::parse(name).is_some()));
        let states: Vec<i32> =
            values("list --states=").iter().map(|name| orders::state(name).unwrap()).collect();
        assert_eq!(states, [1, 2, 3, 4]);
        let scenarios = Scenario::NAMES.iter().map(|(name, _)| *name).chain([RELAY]);
        assert_eq!(values("bench "), scenarios.collect::<Vec<_>>());
    }

    #[test]
    fn placeholders_are_not_candidates() {
        assert_eq!(names("consume --from="), ["--from=earliest", "--from=latest"]);
    }

    #[test]
    fn options_of_all_client_commands_may_precede_the_command() {
        assert_eq!(names("--output=")[..2], ["--output=table", "--output=json"]);
        assert_eq!(names("--output json outbox sta"), ["status", "accept-fork", "republish"]);
        assert!(!names("--output json outbox status -").contains(&"--output=".to_owned()));
        let offered = names("-");
        assert!(offered.contains(&"--version".to_owned()) && offered.contains(&"--server=".to_owned()));
        assert!(!offered.contains(&"--order-id=".to_owned()), "{offered:?}");
    }

    #[test]
    fn nothing_follows_an_unknown_command() {
        assert_eq!(completed("isue -"), "words \n");
    }
}
