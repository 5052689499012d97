use argh::ArgsInfo as _;
use proptest::prelude::*;

use super::*;

fn prepared(arguments: &[&str]) -> Result<Invocation, String> {
    let info = crate::cli::Pvz::get_args_info();
    prepare(&info, arguments.iter().map(OsString::from)).map_err(|error| error.message)
}

fn run(arguments: &[&str]) -> Vec<String> {
    match prepared(arguments) {
        Ok(Invocation::Run { arguments, .. }) => arguments,
        other => panic!("{other:?}"),
    }
}

fn usage_error(arguments: &[&str]) -> String {
    prepared(arguments).expect_err("wrong arguments")
}

#[test]
fn values_follow_an_equals_sign_or_a_space() {
    for arguments in [&["get", "--order-id=1"][..], &["get", "--order-id", "1"]] {
        assert_eq!(run(arguments), ["get", "--order-id", "1"]);
    }
    assert_eq!(run(&["get", "--order-id=a=b"]), ["get", "--order-id", "a=b"]);
    assert_eq!(run(&["get", "--order-id="]), ["get", "--order-id", ""]);
    assert_eq!(run(&["list", "--last-n", "-5"]), ["list", "--last-n", "-5"]);
    assert_eq!(run(&["get", "--order-id=--server"]), ["get", "--order-id", "--server"]);
}

#[test]
fn an_option_is_not_the_value_of_the_previous_one() {
    assert_eq!(usage_error(&["accept", "--order-id", "--customer-id=1"]), "--order-id needs a value");
    assert_eq!(usage_error(&["accept", "--order-id", "--"]), "--order-id needs a value");
    assert_eq!(usage_error(&["accept", "--order-id"]), "--order-id needs a value");
}

#[test]
fn positional_arguments_are_moved_last_and_may_begin_with_a_dash() {
    assert_eq!(run(&["get", "1", "--output=json"]), ["get", "--output", "json", "--", "1"]);
    assert_eq!(run(&["get", "--", "-1"]), ["get", "--", "-1"]);
    assert_eq!(run(&["get", "help"]), ["get", "--", "help"]);
    assert_eq!(run(&["import", "-"]), ["import", "--", "-"]);
    assert_eq!(run(&["issue", "1", "--partial", "2,3"]), ["issue", "--partial", "--", "1", "2,3"]);
    assert_eq!(usage_error(&["history", "1", "2"]), "unexpected argument \"2\"");
}

#[test]
fn short_options_take_values_in_every_form() {
    for arguments in [&["get", "1", "-o", "json"][..], &["get", "1", "-o=json"], &["get", "-ojson", "1"]] {
        assert_eq!(run(arguments), ["get", "--output", "json", "--", "1"]);
    }
    assert_eq!(run(&["list", "-q", "--all"]), ["list", "--quiet", "--all"]);
    assert_eq!(usage_error(&["list", "-q=yes"]), "--quiet takes no value");
    assert_eq!(usage_error(&["list", "-qo", "json"]), "unknown option \"-qo\"");
    assert_eq!(usage_error(&["list", "-o"]), "--output needs a value");
    assert_eq!(usage_error(&["list", "-ojson", "--output=table"]), "--output was given twice");
}

#[test]
fn options_may_precede_the_command() {
    for arguments in [
        &["--server=x:1", "-o", "json", "get", "1"][..],
        &["--server", "x:1", "get", "-ojson", "1"],
        &["get", "--server=x:1", "-o=json", "1"],
    ] {
        assert_eq!(run(arguments), ["get", "--server", "x:1", "--output", "json", "--", "1"]);
    }
    assert_eq!(run(&["-o", "json", "dlq", "list"]), ["dlq", "list", "--output", "json"]);
    assert_eq!(run(&["dlq", "-o", "json", "list"]), ["dlq", "list", "--output", "json"]);
    assert_eq!(usage_error(&["-o", "json", "get", "1", "-o", "table"]), "--output was given twice");
    assert_eq!(usage_error(&["--server=x:1", "serve"]), "serve has no option --server");
    assert_eq!(usage_error(&["--server=x:1", "dlq"]), "dlq has no option --server");
    assert_eq!(usage_error(&["--server=x:1"]), "no command given");
    assert_eq!(usage_error(&["--server"]), "--server needs a value");
    assert_eq!(usage_error(&["--serve=x"]), "unknown option \"--serve\"; did you mean \"--server\"?");
}

/// An option before the command is parsed before the command is known.
#[test]
fn a_group_that_is_a_command_takes_its_options() {
    let store = ["--store", "memory:"];
    assert_eq!(run(&["migrate", "--store=memory:"]), [&["migrate"], &store[..]].concat());
    assert_eq!(run(&["--store=memory:", "migrate"]), [&["migrate"], &store[..]].concat());
    let status = [&["migrate", "status"], &store[..]].concat();
    assert_eq!(run(&["migrate", "--store=memory:", "status"]), status);
    assert_eq!(run(&["migrate", "status", "--store=memory:"]), status);
    assert_eq!(usage_error(&["migrate", "--output=json"]), "unknown option \"--output\"");
    assert_eq!(usage_error(&["--output=json", "migrate"]), "migrate has no option --output");
}

#[test]
fn options_of_the_same_name_are_of_the_same_kind() {
    let info = crate::cli::Pvz::get_args_info();
    let kind = |flag: &FlagInfo<'_>| matches!(flag.kind, FlagInfoKind::Switch);
    let all = flags(&info);
    for one in &all {
        for other in all
            .iter()
            .filter(|other| one.long == other.long || (one.short.is_some() && one.short == other.short))
        {
            assert_eq!((one.long, kind(one)), (other.long, kind(other)));
        }
    }
}

#[test]
fn missing_required_options_are_named() {
    assert_eq!(usage_error(&["accept", "1"]), "missing --customer-id and --storage-until");
    assert_eq!(usage_error(&["accept-return", "1"]), "missing --customer-id");
    assert_eq!(usage_error(&["outbox", "republish"]), "missing --from");
}

#[test]
fn switches_take_no_value() {
    assert_eq!(run(&["issue", "--partial"]), ["issue", "--partial"]);
    assert_eq!(usage_error(&["issue", "--partial=yes"]), "--partial takes no value");
}

#[test]
fn repeated_options_are_refused() {
    assert_eq!(usage_error(&["issue", "--partial", "--partial"]), "--partial was given twice");
    assert_eq!(usage_error(&["accept", "--price=1", "--price", "1"]), "--price was given twice");
}

#[test]
fn unknown_names_are_refused_with_a_suggestion() {
    assert_eq!(usage_error(&["isue"]), "unknown command \"isue\"; did you mean \"issue\"?");
    assert_eq!(usage_error(&["xyz"]), "unknown command \"xyz\"");
    assert_eq!(
        usage_error(&["accept", "--customer=1"]),
        "unknown option \"--customer\"; did you mean \"--customer-id\"?"
    );
}

#[test]
fn help_is_recognized_in_every_position() {
    let help = |path: &[&str]| Ok(Invocation::Help(path.iter().map(|name| (*name).to_owned()).collect()));
    assert_eq!(prepared(&[]), help(&[]));
    assert_eq!(prepared(&["--help"]), help(&[]));
    assert_eq!(prepared(&["-h"]), help(&[]));
    assert_eq!(prepared(&["help"]), help(&[]));
    assert_eq!(prepared(&["help", "accept"]), help(&["accept"]));
    assert_eq!(prepared(&["accept", "--order-id=1", "--help"]), help(&["accept"]));
    assert_eq!(run(&["get", "--order-id=--help"]), ["get", "--order-id", "--help"]);
    assert_eq!(prepared(&["--version"]), Ok(Invocation::Version));
    assert_eq!(prepared(&["-V"]), Ok(Invocation::Version));
}

#[test]
fn arguments_that_are_not_utf_8_are_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let info = crate::cli::Pvz::get_args_info();
    let result = prepare(&info, [OsString::from("get"), OsString::from_vec(vec![0xFF])].into_iter());
    assert_eq!(result.expect_err("not UTF-8").message, "the argument \"\u{fffd}\" is not UTF-8");
}

proptest! {
    #[test]
    fn every_value_is_passed_on_unchanged(value in ".*") {
        let argument = format!("--order-id={value}");
        prop_assert_eq!(run(&["get", &argument]), ["get", "--order-id", value.as_str()]);
    }

    #[test]
    fn a_separate_value_is_passed_on_unless_it_is_an_option(value in "-{0,2}[a-z=-]*") {
        let prepared = prepared(&["get", "--order-id", &value]);
        let info = crate::cli::Pvz::get_args_info();
        let get = info.commands.iter().find(|command| command.name == "get").unwrap();
        let name = value.split('=').next().unwrap_or_default();
        let is_named = |flag: &FlagInfo<'_>| {
            flag.long == name || flag.short.is_some_and(|short| name == format!("-{short}"))
        };
        let is_option = value == "--" || value == "-h" || get.command.flags.iter().any(is_named);
        match prepared {
            Ok(Invocation::Run { arguments, .. }) => {
                prop_assert!(!is_option);
                prop_assert_eq!(arguments, ["get", "--order-id", value.as_str()]);
            }
            _ => prop_assert!(is_option),
        }
    }

    #[test]
    fn arbitrary_arguments_never_panic(arguments in prop::collection::vec("(-{0,2}(help|order-id|o|q|x)?=?|accept|import|dlq|.*)", 0..6)) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if let Ok(Invocation::Run { arguments, .. }) = prepared(&arguments) {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let _ = <crate::cli::Pvz as argh::FromArgs>::from_args(&["pvz"], &arguments);
        }
    }
}
