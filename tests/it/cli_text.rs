//! The command line without a server: help, wrong usage, completion.

use crate::cli_server::{CommandOutput, pvz};

#[test]
fn help_and_errors_match_the_snapshots() {
    let cases = trycmd::TestCases::new();
    cases.register_bin("pvz", trycmd::schema::Bin::Path(env!("CARGO_BIN_EXE_pvz").into()));
    for name in ["PVZ_SERVER", "PVZ_ACTOR", "PVZ_TIMEOUT", "PVZ_OUTPUT"] {
        cases.env(name, "");
    }
    cases.case("tests/cmd/*.trycmd");
}

#[test]
fn completion_scripts_contain_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = CommandOutput::from(pvz(&["completion", shell]).output().unwrap());
        assert_eq!(output.exit, Some(0), "{shell}");
        for word in ["return-to-courier", "import", "storage-until"] {
            assert!(output.stdout.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn bash_completes_options() {
    let script = CommandOutput::from(pvz(&["completion", "bash"]).output().unwrap()).stdout;
    let complete = "COMP_WORDS=(pvz accept --cust); COMP_CWORD=2; _pvz; echo \"${COMPREPLY[*]}\"";
    let bash =
        std::process::Command::new("bash").args(["-c", &format!("{script}\n{complete}")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout), "--customer-id\n", "{bash:?}");
}
