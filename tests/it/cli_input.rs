//! Values as people type them: the client commands convert them before they send a message.

use pvz::proto::Timestamp;
use pvz::proto::v1::{AcceptOrderRequest, AcceptOrderResponse};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::cli_server::{CommandOutput, Script, ScriptedServer};

/// Central European time. The clocks are set forward on 2026-03-29 and back on 2026-10-25.
const CENTRAL_EUROPE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

fn accept(server: &ScriptedServer, arguments: &[&str]) -> CommandOutput {
    accept_in(CENTRAL_EUROPE, server, arguments)
}

fn accept_in(zone: &str, server: &ScriptedServer, arguments: &[&str]) -> CommandOutput {
    let mut command = server.pvz(&["accept", "--order-id=1", "--customer-id=7"]);
    CommandOutput::from(command.args(arguments).env("TZ", zone).output().unwrap())
}

#[test]
fn a_deadline_is_a_date_or_a_time_in_the_local_zone() {
    for (text, expected) in [
        ("2026-12-07", "2026-12-07T22:59:59.999999Z"),
        ("2026-07-01", "2026-07-01T21:59:59.999999Z"),
        ("2026-12-07 18:00", "2026-12-07T17:00:00Z"),
        ("01.07.2026 18:00", "2026-07-01T16:00:00Z"),
        ("2026-12-07T18:00:00Z", "2026-12-07T18:00:00Z"),
        ("2026-12-07 18:00:00 +03:00", "2026-12-07T15:00:00Z"),
        ("2026-10-25 02:30 +01:00", "2026-10-25T01:30:00Z"),
        ("2026-10-25", "2026-10-25T22:59:59.999999Z"),
    ] {
        let script = Script::default().respond(&AcceptOrderResponse::default());
        let server = ScriptedServer::start(&script);
        let output = accept(&server, &[&format!("--storage-until={text}")]);
        assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{text}");
        let sent: AcceptOrderRequest = script.calls()[0].message();
        assert_eq!(sent.storage_until, Some(Timestamp::parse_rfc3339(expected).unwrap()), "{text}");
    }
}

#[test]
fn a_day_whose_last_hour_is_repeated_ends_with_the_second_one() {
    let script = Script::default().respond(&AcceptOrderResponse::default());
    let server = ScriptedServer::start(&script);
    // The clocks are set back from 24:00 to 23:00 on 2026-10-25.
    let output = accept_in("XST-1XDT,M3.5.0,M10.5.0/24", &server, &["--storage-until=2026-10-25"]);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""));
    let sent: AcceptOrderRequest = script.calls()[0].message();
    assert_eq!(sent.storage_until, Some(Timestamp::parse_rfc3339("2026-10-25T22:59:59.999999Z").unwrap()));
}

#[test]
fn a_time_that_the_clocks_skip_or_repeat_is_refused() {
    let server = ScriptedServer::start(&Script::default());
    let output = accept(&server, &["--storage-until=2026-10-25 02:30"]);
    assert_eq!(output.exit, Some(2));
    let offsets = "add the UTC offset: 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00";
    assert!(output.stderr.contains(offsets), "{}", output.stderr);
    let output = accept(&server, &["--storage-until=2026-03-29 02:30"]);
    assert_eq!(output.exit, Some(2));
    assert!(output.stderr.contains("does not exist in the local time zone"), "{}", output.stderr);
}

#[test]
fn weights_and_prices_take_the_decimal_comma() {
    let script = Script::default().respond(&AcceptOrderResponse::default());
    let server = ScriptedServer::start(&script);
    let output = accept(&server, &["--storage-until=7d", "--weight=1,5 кг", "--price=199,90"]);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""));
    let sent: AcceptOrderRequest = script.calls()[0].message();
    assert_eq!((sent.weight_grams, sent.price_minor), (Some(1_500), Some(19_990)));
    let output = accept(&server, &["--storage-until=7d", "--weight=1,5g", "--price=1,999"]);
    assert_eq!((output.exit, script.calls().len()), (Some(2), 1));
    assert!(output.stderr.contains("a dot or comma does not separate thousands"), "{}", output.stderr);
}

/// A deadline that is counted from now differs each time, so an accept with it cannot be repeated.
#[test]
fn a_deadline_counted_from_now_can_be_repeated_as_an_instant() {
    let internal = ErrorDetails::with_error_info("INTERNAL", "pvz", std::collections::HashMap::new());
    let internal = Status::with_error_details(Code::Internal, "a bug", internal);
    let script = Script::default().refuse(internal);
    let server = ScriptedServer::start(&script);
    let output = accept(&server, &["--storage-until=7d", "--request-id=mine"]);
    assert_eq!((output.exit, script.calls().len()), (Some(2), 0));
    assert!(output.stderr.contains("with --request-id, give a date or a time"), "{}", output.stderr);
    let output = accept(&server, &["--storage-until=7d"]);
    let sent: AcceptOrderRequest = script.calls()[0].message();
    let until = sent.storage_until.unwrap().to_chrono().unwrap();
    let printed = format!(" --storage-until={}\n", until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    assert!(output.stderr.contains(&printed), "{printed}{}", output.stderr);
}
