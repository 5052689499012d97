//! `pvz import` of files as couriers and spreadsheets make them. `tests/csv` has
//! files that earlier releases misread.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use pvz::domain::OrderId;
use pvz::proto::Timestamp;
use pvz::proto::v1::*;

use crate::cli_server::{CommandOutput, Rows, Script, ScriptedServer, accepted};

/// Responds to an id as the server does.
fn respond(row: &AcceptOrderRequest) -> ImportOrdersResponse {
    let Err(fault) = OrderId::parse(&row.order_id) else { return accepted(row) };
    let violation = FieldViolation { field: "order_id".to_owned(), description: fault.to_string() };
    let refusal = Refusal {
        reason: "VALIDATION_FAILED".to_owned(),
        message: format!("the request is not valid: order_id {fault}"),
        field_violations: vec![violation],
        ..Refusal::default()
    };
    let outcome = Some(order_result::Outcome::Refusal(refusal));
    let result = Some(OrderResult { order_id: row.order_id.clone(), outcome });
    ImportOrdersResponse { result, ..accepted(row) }
}

/// The outcome of an import.
struct Imported {
    output: CommandOutput,
    /// The rows that were sent, in their order.
    sent: Vec<AcceptOrderRequest>,
    /// The faults by line, without the file.
    faults: BTreeMap<u64, String>,
}

impl Imported {
    fn ids(&self) -> Vec<&str> {
        self.sent.iter().map(|row| row.order_id.as_str()).collect()
    }

    fn fault(&self, line: u64) -> &str {
        self.faults.get(&line).unwrap_or_else(|| panic!("no fault in line {line}: {}", self.output.stderr))
    }
}

fn import(name: &str, bytes: &[u8], flags: &[&str]) -> Imported {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let path = path.to_str().unwrap();
    let script = Script::default().import(Rows::Respond(respond));
    let server = ScriptedServer::start(&script);
    let mut output = server.run(&[&["import", path][..], flags].concat());
    output.stderr = output.stderr.replace(path, name);
    let faults = output.stderr.lines().filter_map(|line| {
        let (line, fault) =
            line.strip_prefix(name)?.strip_prefix(':')?.split_once(": VALIDATION_FAILED: ")?;
        Some((line.parse().ok()?, fault.to_owned()))
    });
    let faults = faults.collect();
    let sent = script.calls().iter().map(crate::cli_server::Call::message::<AcceptOrderRequest>).collect();
    Imported { output, sent, faults }
}

fn import_case(name: &str) -> Imported {
    let path = format!("{}/tests/csv/{name}", env!("CARGO_MANIFEST_DIR"));
    import(name, &fs::read(path).unwrap(), &[])
}

fn row(order_id: &str) -> AcceptOrderRequest {
    AcceptOrderRequest {
        order_id: order_id.to_owned(),
        customer_id: "7".to_owned(),
        storage_until: Some(Timestamp::parse_rfc3339("2026-12-05T10:00:00Z").unwrap()),
        ..AcceptOrderRequest::default()
    }
}

/// Asserts that the rows were sent and accepted, apart from their request ids.
fn assert_accepted(imported: &Imported, rows: &[AcceptOrderRequest]) {
    assert_eq!(imported.output.exit, Some(0), "{}", imported.output.stderr);
    let sent: Vec<_> =
        imported.sent.iter().map(|row| AcceptOrderRequest { request_id: None, ..row.clone() }).collect();
    assert_eq!(sent, rows);
}

#[test]
fn files_of_couriers_are_read() {
    for (name, ids) in [
        ("cr.csv", &["CR-1", "CR-2"][..]),
        ("trail.csv", &["TR-1"]),
        ("trail_rows.csv", &["TR-2"]),
        ("utf16le.csv", &["U-1"]),
    ] {
        let rows: Vec<_> = ids.iter().map(|id| row(id)).collect();
        assert_accepted(&import_case(name), &rows);
    }
    let semicolons = AcceptOrderRequest {
        weight_grams: Some(1_500),
        price_minor: Some(19_990),
        packaging: vec!["box".to_owned()],
        ..row("SC-1")
    };
    assert_accepted(&import_case("semi.csv"), &[semicolons]);
}

#[test]
fn ids_from_excel_are_exact_or_refused() {
    let imported = import_case("excel.csv");
    assert_eq!(imported.output.exit, Some(4));
    assert_eq!(imported.ids(), ["0012345", "0012345", "0012345", "0012345", "12345"]);
    assert!(
        imported.sent.iter().all(|row| (row.weight_grams, row.price_minor) == (Some(1_500), Some(1_000)))
    );
    assert_eq!(imported.faults.keys().copied().collect::<Vec<_>>(), [2, 3, 9]);
    let lost = "column order_id has lost digits in a spreadsheet: ";
    assert_eq!(
        imported.fault(2),
        format!(
            "{lost}\"1.23E+12\"; format the column as text there and enter the ids again (order 1.23E+12)"
        )
    );
    assert!(imported.fault(3).starts_with(&format!("{lost}\"1,23457E+12\"; ")), "{}", imported.fault(3));
    let decimal = "column order_id has become a decimal number in another program: \"12345.0\"; ";
    assert!(imported.fault(9).starts_with(decimal), "{}", imported.fault(9));
}

#[test]
fn faulty_quotes_are_refused_at_their_line() {
    let imported = import_case("quote.csv");
    assert_eq!(imported.output.exit, Some(4));
    assert_eq!(imported.ids(), ["Q-1\"x\"", "Q-3\"", "Q-4\n", "Q-6"]);
    assert!(imported.output.stdout.contains("accepted             1\n"), "{}", imported.output.stdout);
    assert_eq!(imported.faults.keys().copied().collect::<Vec<_>>(), [2, 3, 4, 5, 7]);
    assert_eq!(
        imported.fault(3),
        "column order_id has text after its closing quote, at character 6 of line 3; \
         write a quote inside quotes twice: \"\""
    );
    assert_eq!(
        imported.fault(7),
        "column customer_id has a quote that is not closed within 64 KiB, at character 5 of line 7; close or remove it"
    );
    for line in [2, 4, 5] {
        assert!(imported.fault(line).starts_with("column order_id "), "{}", imported.fault(line));
    }
}

#[test]
fn files_of_another_form_are_refused_with_advice() {
    let refused = |imported: &Imported, message: &str| {
        assert_eq!(imported.output.exit, Some(2));
        assert_eq!(imported.output.stderr, format!("error: {message}\n"));
        assert!(imported.sent.is_empty());
    };
    let columns = "order_id, customer_id, storage_until, weight, weight_grams, price, price_minor, packaging, \
                   pickup_point_id, request_id";
    refused(
        &import_case("cp1251.csv"),
        &format!(
            "cp1251.csv:1: the header has unknown columns: \"Номер отправления\", \"Клиент\", \"Хранить до\"; \
             the first line must name the columns: {columns}"
        ),
    );
    let pretty = import_case("pretty.json");
    assert!(
        pretty.output.stderr.starts_with("error: pretty.json:1: a JSON object must be on one line: jq -c . ")
    );
    assert_eq!(pretty.output.exit, Some(2));
    for (name, bytes, message) in [
        (
            "day.json",
            &b"[{\"orderId\":\"1\"},\n"[..],
            "day.json:1: a JSON array must be one object per line: jq -c '.[]' FILE | pvz import -",
        ),
        (
            "day.csv",
            b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0abcdefghijkl\x13\0\x08\x02[Content_Types].xml",
            "day.csv: this is an Excel workbook (xlsx), not CSV or NDJSON; open it in Excel and save the sheet as CSV UTF-8",
        ),
        (
            "day.xls",
            b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\0\0",
            "day.xls: this is an Excel workbook (xls), not CSV or NDJSON; open it in Excel and save the sheet as CSV",
        ),
        (
            "day.gz",
            b"\x1F\x8B\x08\0\0\0\0\0\0\x03",
            "day.gz: this is gzip data, not CSV or NDJSON; decompress it: gunzip -c FILE | pvz import -",
        ),
        (
            "day.zst",
            b"\x28\xB5\x2F\xFD\x04\0",
            "day.zst: this is zstd data, not CSV or NDJSON; decompress it: zstd -dc FILE | pvz import -",
        ),
    ] {
        // The advice names the path, which is one word for a shell.
        let imported = import(name, bytes, &[]);
        refused(&imported, &message.replace("FILE", name));
    }
    let marked = import("day.csv", b"\xFF\xFEo\0", &["--encoding=windows-1251"]);
    refused(&marked, "day.csv: the file begins with the byte-order mark of utf-16le, not windows-1251");
    let unknown = import("day.csv", b"", &["--encoding=koi8-r"]);
    refused(
        &unknown,
        "--encoding must be one of auto, utf-8, utf-16le, utf-16be, windows-1251, not \"koi8-r\"",
    );
}

#[test]
fn the_encoding_is_detected_or_given() {
    let text = "order_id;customer_id;storage_until;weight\n1;7;2026-12-05T10:00:00Z;1,5 кг\n";
    let windows_1251: Vec<u8> = text
        .chars()
        .map(|c| match c {
            'к' => 0xEA,
            'г' => 0xE3,
            c => u8::try_from(c).unwrap(),
        })
        .collect();
    let expected = [AcceptOrderRequest { weight_grams: Some(1_500), ..row("1") }];
    for (bytes, flags) in [
        (text.as_bytes(), &[][..]),
        (text.as_bytes(), &["--encoding=utf-8"]),
        (&windows_1251, &[]),
        (&windows_1251, &["--encoding=windows-1251"]),
    ] {
        assert_accepted(&import("day.csv", bytes, flags), &expected);
    }
    let wrong = import("day.csv", &windows_1251, &["--encoding=utf-8"]);
    assert_eq!((wrong.output.exit, wrong.fault(2)), (Some(4), "line must be text in utf-8"));
    let marked =
        "\u{feff}{\"orderId\":\"1\",\"customerId\":\"7\",\"storageUntil\":\"2026-12-05T10:00:00Z\"}\n";
    assert_accepted(&import("day.ndjson", marked.as_bytes(), &[]), &[row("1")]);
    let utf_16: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_accepted(&import("day.ndjson", &utf_16, &[]), &[row("1")]);
}

#[test]
fn dates_are_read_as_on_the_command_line() {
    let text = "order_id;customer_id;storage_until\n1;7;05.12.2026 10:00\n2;7;2026-12-05\n3;7;7d\n";
    let imported = import("day.csv", text.as_bytes(), &[]);
    let until = |row: &AcceptOrderRequest| row.storage_until.unwrap();
    let instant = |text| Timestamp::parse_rfc3339(text).unwrap();
    assert_eq!(imported.ids(), ["1", "2"]);
    assert_eq!(until(&imported.sent[0]), instant("2026-12-05T10:00:00Z"), "the tests run in UTC");
    assert_eq!(until(&imported.sent[1]), instant("2026-12-05T23:59:59.999999Z"));
    assert!(imported.fault(4).starts_with("column storage_until must be a date "), "{}", imported.fault(4));
}

#[test]
fn a_faulty_line_of_json_is_a_row() {
    let good = "{\"orderId\":\"1\",\"customerId\":\"7\",\"storageUntil\":\"2026-12-05T10:00:00Z\"}";
    let imported = import("day.ndjson", format!("{{\"order\n{good}\nnonsense\n").as_bytes(), &[]);
    assert_eq!((imported.output.exit, imported.ids()), (Some(4), vec!["1"]));
    assert_eq!(imported.fault(1), "line cannot be read as JSON: EOF while parsing a string at column 7");
    assert_eq!(imported.fault(3), "line cannot be read as JSON: expected ident at column 2");
}

#[test]
fn compressed_standard_input_is_recognized() {
    let server = ScriptedServer::start(&Script::default());
    let mut child = server.pvz(&["import", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\x1F\x8B\x08\0\0\0\0\0\0\x03").unwrap();
    let output = CommandOutput::from(child.wait_with_output().unwrap());
    assert_eq!(output.exit, Some(2));
    assert_eq!(
        output.stderr,
        "error: standard input: this is gzip data, not CSV or NDJSON; decompress it: gunzip -c FILE | pvz import -\n"
    );
}
