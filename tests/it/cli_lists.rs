//! Lists as people and programs read them: ids only, empty results, narrow terminals.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use pvz::proto::v1::*;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::cli_server::{Script, ScriptedServer};

fn page(ids: &[&str], next: &str) -> ListOrdersResponse {
    let order = |id: &&str| Order {
        order_id: (*id).to_owned(),
        customer_id: "7".to_owned(),
        pickup_point_id: "main".to_owned(),
        state: OrderState::Stored.into(),
        weight_grams: Some(1_500),
        currency: "RUB".to_owned(),
        packaging: vec!["box".to_owned(), "film".to_owned()],
        ..Order::default()
    };
    ListOrdersResponse { orders: ids.iter().map(order).collect(), next_page_token: next.to_owned() }
}

#[test]
fn quiet_lists_print_ids() {
    let returns = ListReturnsResponse { orders: page(&["4"], "").orders, next_page_token: String::new() };
    let letters = ListDeadLettersResponse {
        letters: vec![DeadLetter { order_id: "5".to_owned(), ..DeadLetter::default() }],
        ..ListDeadLettersResponse::default()
    };
    let script = Script::default()
        .respond(&page(&["1", "2"], "next"))
        .respond(&page(&["3"], ""))
        .respond(&returns)
        .respond(&letters)
        .respond(&page(&["1"], ""));
    let server = ScriptedServer::start(&script);
    for (arguments, ids) in [
        (&["list", "-q", "--all"][..], "1\n2\n3\n"),
        (&["returns", "-q"], "4\n"),
        (&["dlq", "list", "-q"], "5\n"),
    ] {
        let output = server.run(arguments);
        assert_eq!((output.exit, output.stdout.as_str(), output.stderr.as_str()), (Some(0), ids, ""));
    }
    let output = server.pvz(&["list", "--quiet"]).env("PVZ_OUTPUT", "json").output().unwrap();
    assert_eq!(output.stdout, b"1\n", "--quiet takes precedence over the environment");
}

#[test]
fn options_before_the_command_take_effect() {
    let script = Script::default().respond(&page(&["1"], ""));
    let server = ScriptedServer::start(&script);
    let address = format!("--server={}", server.address);
    let output = crate::cli_server::pvz(&[&address, "-o", "json", "list"]).output().unwrap();
    assert_eq!(serde_json::from_slice::<ListOrdersResponse>(&output.stdout).unwrap(), page(&["1"], ""));
}

const STATISTICS: &str = "no statistics found; `pvz consume` collects them from the events\n\
    as of: not known; no consumer has read from where this server publishes\n";

#[test]
fn empty_results_are_reported_on_standard_error() {
    let script = Script::default()
        .respond(&ListOrdersResponse::default())
        .respond(&ListOrdersResponse::default())
        .respond(&ListOrdersResponse::default())
        .respond(&ListReturnsResponse::default())
        .respond(&ListEventsResponse::default())
        .respond(&GetStatisticsResponse::default())
        .respond(&ListDeadLettersResponse::default())
        .respond(&ListPackagingResponse::default());
    let server = ScriptedServer::start(&script);
    for (arguments, note) in [
        (&["list"][..], "no orders match\n"),
        (&["list", "-q"], "no orders match\n"),
        (&["list", "-o", "ndjson"], "no orders match\n"),
        (&["returns"], "no returned orders match\n"),
        (&["events"], "no events found\n"),
        (&["stats", "-o", "ndjson"], STATISTICS),
        (&["dlq", "list"], "no dead letters\n"),
        (&["packaging"], "no packaging is configured\n"),
    ] {
        let output = server.run(arguments);
        assert_eq!(
            (output.exit, output.stdout.as_str(), output.stderr.as_str()),
            (Some(0), "", note),
            "{arguments:?}"
        );
    }
}

/// Runs a command whose standard output is a terminal, and returns the output.
fn on_terminal(mut command: Command, columns: u16) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut child = command.stdout(Stdio::from(terminal)).spawn().unwrap();
    // Closes the copy of the terminal in this process, so that the output ends.
    drop(command);
    let mut output = Vec::new();
    // The end of the output is an error on Linux.
    let _ = File::from(master).read_to_end(&mut output);
    assert!(child.wait().unwrap().success());
    String::from_utf8(output).unwrap().replace('\r', "")
}

#[test]
fn a_table_fits_the_terminal_and_is_complete_elsewhere() {
    const ALL: &str = "ORDER  CUSTOMER  POINT  STATE   STORAGE UNTIL   WEIGHT     TOTAL  PACKAGING";
    let script = (0..4).fold(Script::default(), |script, _| script.respond(&page(&["1"], "")));
    let server = ScriptedServer::start(&script);
    let header = |text: &str| text.lines().next().unwrap().to_owned();
    let list = || {
        let mut command = server.pvz(&["list"]);
        command.env_remove("COLUMNS");
        command
    };
    assert_eq!(header(&on_terminal(list(), 80)), ALL);
    let narrow = on_terminal(list(), 60);
    assert_eq!(header(&narrow), "ORDER  CUSTOMER  POINT  STATE   STORAGE UNTIL     TOTAL");
    assert!(narrow.lines().all(|line| line.len() <= 60), "{narrow}");
    let mut variable = list();
    variable.env("COLUMNS", "80");
    assert_eq!(header(&on_terminal(variable, 60)), ALL, "COLUMNS takes precedence");
    let mut pipe = list();
    pipe.env("COLUMNS", "20");
    assert_eq!(header(&String::from_utf8(pipe.output().unwrap().stdout).unwrap()), ALL);
}
