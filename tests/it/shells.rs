//! Completion in the real shells, and the manual pages as their readers see them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use crate::cli_server::{CommandOutput, pvz};

/// A command line up to the cursor, and what completes it: the part of the word after its last `=` or
/// `:`, if it has one. The folder has the files `day.csv` and `dark.db` and the folder `data`.
const CASES: &[(&str, &[&str])] = &[
    ("pvz out", &["outbox"]),
    ("pvz outbox re", &["republish"]),
    ("pvz outbox ", &["accept-fork", "republish", "status"]),
    ("pvz help ou", &["outbox"]),
    ("pvz man outbox rep", &["republish"]),
    ("pvz completion ", &["bash", "fish", "zsh"]),
    ("pvz accept --cust", &["--customer-id="]),
    ("pvz dlq list --al", &["--all"]),
    ("pvz list --output=", &["json", "ndjson", "table"]),
    ("pvz list --output=js", &["json"]),
    ("pvz list --output ", &["json", "ndjson", "table"]),
    ("pvz list --output js", &["json"]),
    ("pvz list --all --output=nd", &["ndjson"]),
    ("pvz list --states=stored,is", &["stored,issued"]),
    ("pvz serve --store=", &["memory:", "postgres://", "sqlite:"]),
    ("pvz --output json outb", &["outbox"]),
    ("pvz import da", &["dark.db", "data", "day.csv"]),
    ("pvz import --server x da", &["dark.db", "data", "day.csv"]),
    ("pvz serve --config=day", &["day.csv"]),
    ("pvz serve --config day", &["day.csv"]),
    ("pvz serve --data-dir=da", &["data"]),
    ("pvz serve --data-dir da", &["data"]),
    ("pvz serve --store=sqlite:dar", &["dark.db"]),
    ("pvz get --server ", &[]),
    ("pvz isue ", &[]),
    ("true && pvz out", &["outbox"]),
];

/// A folder with files to complete, and a search path with pvz.
fn shell(program: &str, folder: &Path) -> Command {
    for file in ["day.csv", "dark.db"] {
        std::fs::write(folder.join(file), "").unwrap();
    }
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_pvz")).parent().unwrap().display();
    // Ends a shell that waits for input after all.
    let mut command = Command::new("timeout");
    command
        .args(["120", program])
        .current_dir(folder)
        .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
        .env("HOME", folder)
        .env("TERM", "dumb");
    command
}

fn stdout(output: Output) -> String {
    let output = CommandOutput::from(output);
    assert_eq!(output.exit, Some(0), "{output:?}");
    output.stdout
}

fn check(complete: impl Fn(&str) -> Vec<String>) {
    for (line, expected) in CASES {
        let word = line.rsplit(' ').next().unwrap();
        let typed = word.rfind(['=', ':']).map_or("", |at| &word[..=at]);
        let found: BTreeSet<String> = complete(line)
            .iter()
            .map(|word| word.strip_prefix(typed).unwrap_or(word).trim_end_matches(['/', ' ']).to_owned())
            .collect();
        let expected: BTreeSet<String> =
            expected.iter().map(|word| word.trim_end_matches('/').to_owned()).collect();
        assert_eq!(found, expected, "{line:?}");
    }
}

#[test]
fn bash_completes_also_with_nounset() {
    let folder = tempfile::tempdir().unwrap();
    let rc = folder.path().join("rc");
    std::fs::write(&rc, "set -u; source <(pvz completion bash); PS1=\n").unwrap();
    check(|line| {
        // Inserts all completions, and prints the line.
        let keys = format!("{line}\x1b*\x01printf '%s\\n' '\x05'\nexit\n");
        std::fs::write(folder.path().join("keys"), keys).unwrap();
        let printed = shell("bash", folder.path())
            .args(["--noprofile", "--rcfile", rc.to_str().unwrap(), "-i"])
            .stdin(std::fs::File::open(folder.path().join("keys")).unwrap())
            .output()
            .unwrap();
        let typed = line.rfind([' ', '=', ':']).map_or(0, |at| at + 1);
        let printed = stdout(printed);
        let inserted = printed.lines().next().unwrap();
        let words = inserted[typed..].split(' ').filter(|word| !word.is_empty());
        // Without a completion the line stays as it is.
        words.filter(|word| *word != &line[typed..]).map(str::to_owned).collect()
    });
}

#[test]
fn bash_that_cannot_complete_paths_itself_is_given_them() {
    let folder = tempfile::tempdir().unwrap();
    // Outside of a completion, compopt fails as in bash 3, which does not have it.
    let script = "set -eu; source <(pvz completion bash); COMP_LINE='pvz serve --config=da'\n\
                  COMP_POINT=${#COMP_LINE} COMP_WORDS=(pvz serve --config = da) COMP_CWORD=4\n\
                  _pvz; printf '%s\\n' \"${COMPREPLY[@]}\" | sort";
    let printed = shell("bash", folder.path()).args(["-c", script]).output().unwrap();
    assert_eq!(stdout(printed), "dark.db\ndata\nday.csv\n");
}

/// Completes `$LINE` at the start of the line editor, writes the matches to `$MATCHES` and exits.
const ZSHRC: &str = r#"
autoload -Uz compinit
compinit -u -D
source <(pvz completion zsh)
compadd() {
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
        local -a matches
        builtin compadd -A matches "$@"
        print -rl -- $matches >>$MATCHES
    fi
    builtin compadd "$@"
}
zle-line-init() {
    BUFFER=$LINE CURSOR=$#LINE
    zle complete-word
    exit
}
comppostfuncs=(exit)
zle -N zle-line-init
"#;

#[test]
fn zsh_completes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".zshrc"), ZSHRC).unwrap();
    let matches = folder.path().join("matches");
    check(|line| {
        std::fs::write(&matches, "").unwrap();
        // The line editor needs a terminal.
        let script = "zmodload zsh/zpty; zpty shell zsh -d -i; while zpty -r shell output; do :; done";
        let shell = shell("zsh", folder.path())
            .args(["-fc", script])
            .env("ZDOTDIR", folder.path())
            .env("LINE", line)
            .env("MATCHES", &matches)
            .output()
            .unwrap();
        assert!(shell.stderr.is_empty(), "{shell:?}");
        let matches = std::fs::read_to_string(&matches).unwrap();
        matches.lines().filter(|word| !word.is_empty()).map(str::to_owned).collect()
    });
}

#[test]
fn fish_completes() {
    let folder = tempfile::tempdir().unwrap();
    check(|line| {
        let script = "pvz completion fish | source; complete -C $argv[1]";
        let found = shell("fish", folder.path()).args(["--no-config", "-c", script, line]).output().unwrap();
        stdout(found).lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    });
}

#[test]
fn fish_shows_the_descriptions() {
    let folder = tempfile::tempdir().unwrap();
    let script = "pvz completion fish | source; complete -C 'pvz outbox rep'";
    let found = shell("fish", folder.path()).args(["--no-config", "-c", script]).output().unwrap();
    assert_eq!(stdout(found), "republish\tPublish events again, from a cursor on\n");
}

/// Writes all manual pages, and returns their names.
fn pages(folder: &Path) -> Vec<String> {
    let written = pvz(&["man", "--dir", folder.to_str().unwrap()]).output().unwrap();
    assert_eq!(CommandOutput::from(written).exit, Some(0));
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let names = pages(folder.path());
    let help = CommandOutput::from(pvz(&["help"]).output().unwrap()).stdout;
    let commands = help
        .lines()
        .take_while(|line| *line != "Options:")
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(['-', ' ']));
    let mut count = 0;
    for command in commands.map(|line| line.split(' ').next().unwrap()) {
        assert!(names.contains(&format!("pvz-{command}.1")), "{command}: {names:?}");
        count += 1;
    }
    assert!(count > 20, "{help}");
    assert!(names.contains(&"pvz.1".to_owned()) && names.contains(&"pvz-outbox-republish.1".to_owned()));
    let page = std::fs::read_to_string(folder.path().join("pvz-outbox-republish.1")).unwrap();
    let printed = CommandOutput::from(pvz(&["man", "outbox", "republish"]).output().unwrap());
    assert_eq!(printed.stdout, page);
    let first = std::fs::read_to_string(folder.path().join("pvz.1")).unwrap();
    assert_eq!(CommandOutput::from(pvz(&["man"]).output().unwrap()).stdout, first);
    let unknown = CommandOutput::from(pvz(&["man", "outbox", "isue"]).output().unwrap());
    assert_eq!(
        (unknown.exit, unknown.stderr.as_str()),
        (Some(2), "error: pvz outbox has no command \"isue\"\n")
    );
}

#[test]
fn manual_pages_are_correct_for_groff_and_mandoc() {
    let folder = tempfile::tempdir().unwrap();
    let names = pages(folder.path());
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).args(&names).current_dir(folder.path()).output();
        CommandOutput::from(output.unwrap())
    };
    let groff = run("groff", &["-ww", "-man", "-Tutf8"]);
    assert_eq!((groff.exit, groff.stderr.as_str()), (Some(0), ""));
    let mandoc = run("mandoc", &["-T", "lint"]);
    // The pages of a build have the version, and no date.
    let complaints = mandoc.stdout.lines().filter(|line| !line.contains("missing date, using \"\": TH"));
    assert_eq!(complaints.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn manual_page_shows_the_options_and_examples() {
    let folder = tempfile::tempdir().unwrap();
    pages(folder.path());
    let man = Command::new("man")
        .args(["-l", "pvz-accept.1"])
        .current_dir(folder.path())
        .env("MANWIDTH", "100")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let page = stdout(man);
    for text in [
        "pvz-accept - Accept an order from a courier",
        "--customer-id=id",
        "--output=table|json|ndjson",
        "pvz accept 1 --customer-id=123",
        "\n           2026-12-31, 31.12.2026  the end of that day",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}
