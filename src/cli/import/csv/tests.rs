use std::fmt::Write as _;
use std::io::BufReader;

use super::super::encoding::Encoding;
use super::*;
use crate::proto::Timestamp;

const UNTIL: &str = "2026-12-31T10:00:00Z";

fn open(text: &[u8]) -> Result<CsvRows<BufReader<&[u8]>>, FileFault> {
    CsvRows::new(InputLines::new(BufReader::with_capacity(16, text), Encoding::Auto))
}

/// Returns the line of each row, and its request or its faults.
fn read(text: &[u8]) -> Vec<(u64, Result<AcceptOrderRequest, String>)> {
    let mut rows = open(text).expect("a valid header");
    let next = || rows.next().unwrap();
    let faults = |bad: BadRow| {
        let faults = bad.refusal.field_violations;
        faults
            .iter()
            .map(|fault| format!("{} {}", fault.field, fault.description))
            .collect::<Vec<_>>()
            .join("; ")
    };
    std::iter::from_fn(next).map(|row| (row.line, row.content.map_err(faults))).collect()
}

/// Returns the rows of a file with the required columns.
fn read_rows(rows: &str) -> Vec<(u64, Result<AcceptOrderRequest, String>)> {
    read(format!("order_id,customer_id,storage_until\n{rows}").as_bytes())
}

fn header_fault(text: &str) -> (Option<u64>, String) {
    match open(text.as_bytes()) {
        Err(FileFault::Content { line, message }) => (line, message),
        other => panic!("{other:?}"),
    }
}

fn orders(rows: &[(u64, Result<AcceptOrderRequest, String>)]) -> Vec<(u64, &str)> {
    rows.iter()
        .map(|(line, row)| (*line, row.as_ref().map_or("bad", |request| request.order_id.as_str())))
        .collect()
}

#[test]
fn columns_may_have_any_order_and_readable_units() {
    let text = "\u{feff}price,order_id,Weight,packaging,customer_id,storage_until,pickup_point_id,request_id\r\n\
                199.90,1,1.5kg,box+film,7,2026-12-31T10:00:00+03:00,main,key\r\n\
                ,2,,,7,,,\r\n";
    let rows = read(text.as_bytes());
    let first = rows[0].1.as_ref().unwrap();
    assert_eq!(first.order_id, "1");
    assert_eq!((first.price_minor, first.weight_grams), (Some(19_990), Some(1_500)));
    assert_eq!(first.packaging, ["box", "film"]);
    assert_eq!(first.storage_until, Some(Timestamp::parse_rfc3339("2026-12-31T07:00:00Z").unwrap()));
    assert_eq!(first.pickup_point_id.as_deref(), Some("main"));
    assert_eq!(first.request_id.as_deref(), Some("key"));
    let second = rows[1].1.as_ref().unwrap();
    let expected =
        AcceptOrderRequest { order_id: "2".into(), customer_id: "7".into(), ..AcceptOrderRequest::default() };
    assert_eq!(*second, expected, "an empty string is an absent field");
}

#[test]
fn a_bad_row_does_not_affect_the_others() {
    let header = "order_id,customer_id,storage_until,weight_grams,price\n";
    let mut text = header.as_bytes().to_vec();
    text.extend_from_slice(b"1,7,,1.5,1.999\n2,7,,2,2\n3,7,,3\n4,7,,4,\xFF\n5,7,,5,5\n6,7,,6,6,6\n");
    let rows = read(&text);
    assert_eq!(orders(&rows), [(2, "bad"), (3, "2"), (4, "bad"), (5, "bad"), (6, "5"), (7, "bad")]);
    let fault = |row: usize| rows[row].1.as_ref().unwrap_err().as_str();
    assert!(
        fault(0).starts_with("weight_grams must be a whole number, not \"1.5\"; price must "),
        "{}",
        fault(0)
    );
    assert!(fault(0).ends_with(", not \"1.999\""), "{}", fault(0));
    assert_eq!(fault(2), "line has 4 fields, but the header has 5");
    assert_eq!(fault(3), "price must be an amount such as 1999, 199.90 or 199,90, not \"я\"");
    assert_eq!(fault(5), "line has 6 fields, but the header has 5; a field with \",\" in it needs quotes");
}

#[test]
fn semicolons_and_tabs_are_detected() {
    for (delimiter, named) in
        [(';', ""), ('\t', ""), (';', "sep=;\r\n"), ('\t', "Sep=\t\n"), (',', "sep=,\n")]
    {
        let header = "order_id,customer_id,storage_until,price".replace(',', &delimiter.to_string());
        let row = format!("1,7,{UNTIL},\"5.50\"").replace(',', &delimiter.to_string());
        let rows = read(format!("{named}{header}\n{row}\n").as_bytes());
        let request = rows[0].1.as_ref().unwrap();
        assert_eq!(
            (request.order_id.as_str(), request.price_minor),
            ("1", Some(550)),
            "{delimiter:?} {named:?}"
        );
    }
    let text = format!("sep=;\norder_id;customer_id;storage_until;weight;price\n1;7;{UNTIL};1,5 кг;199,90\n");
    let rows = read(text.as_bytes());
    let request = rows[0].1.as_ref().unwrap();
    assert_eq!((rows[0].0, request.weight_grams, request.price_minor), (3, Some(1_500), Some(19_990)));
    assert_eq!(
        header_fault("\nsep=|\norder_id|customer_id\n"),
        (Some(2), "sep= must name a semicolon, a comma or a tab, not \"|\"".to_owned())
    );
}

#[test]
fn blank_columns_and_rows_are_skipped() {
    let rows = read(
        b"order_id,,customer_id,storage_until,,\r\n\
        1,,7,,,\r\n,,,,,\r\n2,,7,,,,,,\r\n   \r\n,\"\",\" \",\r\n3,,7,\r\n4,x,7,,,\r\n5,,7,,,x\r\n6,7\r\n",
    );
    assert_eq!(orders(&rows), [(2, "1"), (4, "2"), (7, "3"), (8, "bad"), (9, "bad"), (10, "bad")]);
    let fault = |row: usize| rows[row].1.as_ref().unwrap_err().as_str();
    assert_eq!(fault(3), "line has text in column 2, which has no name in the header");
    assert_eq!(fault(4), "line has 6 fields, but the header has 4; a field with \",\" in it needs quotes");
    assert_eq!(fault(5), "line has 2 fields, but the header has 4");
}

#[test]
fn ids_keep_their_zeros_and_lost_digits_are_noticed() {
    let rows =
        read_rows("'0012,7,\n=\"0012\",7,\n\"=\"\"0012\"\"\",7,\n 0012 ,7,\n1.23E+12,7,\n12.0,7,\n1,7.0,\n");
    let ids = [(2, "0012"), (3, "0012"), (4, "0012"), (5, "0012"), (6, "bad"), (7, "bad"), (8, "bad")];
    assert_eq!(orders(&rows), ids);
    let fault = |row: usize| rows[row].1.as_ref().unwrap_err().as_str();
    assert_eq!(
        fault(4),
        "order_id has lost digits in a spreadsheet: \"1.23E+12\"; format the column as text there and enter the ids \
         again"
    );
}

#[test]
fn quoted_fields_may_span_lines() {
    let rows = read_rows("\"a\nb\"\"c,\",1,\n\n2,2,\n\"3\",3,");
    assert_eq!(orders(&rows), [(2, "a\nb\"c,"), (5, "2"), (6, "3")]);
}

#[test]
fn a_faulty_quote_spoils_only_its_line() {
    let rows = read_rows("1,1,\n2,\"x\n3,3,\n4,4,\n");
    assert_eq!(orders(&rows), [(2, "1"), (3, "bad"), (4, "3"), (5, "4")]);
    let unclosed = |at: &str| {
        format!(
            "customer_id has a quote that is not closed within 64 KiB, at character {at}; close or remove it"
        )
    };
    assert_eq!(*rows[1].1.as_ref().unwrap_err(), unclosed("3 of line 3"));

    // The quote that is not closed is in the second line of the record.
    let rows = read_rows("\"1\n\",\"7,\n2,2,\n");
    assert_eq!(orders(&rows), [(2, "bad"), (3, "bad"), (4, "2")]);
    assert_eq!(*rows[0].1.as_ref().unwrap_err(), unclosed("3 of line 3"));

    // One stray quote pairs with the next.
    let rows = read_rows("\"1,7,\n2,7,\n3,\"7\",\n4,7,\n");
    assert_eq!(orders(&rows), [(2, "bad"), (3, "2"), (4, "3"), (5, "4")]);
    assert_eq!(
        rows[0].1.as_ref().unwrap_err(),
        "order_id has text after its closing quote, at character 4 of line 4; write a quote inside quotes twice: \"\""
    );

    let tail: String = (0..20_000).flat_map(|number| [number.to_string(), ",7,\n".to_owned()]).collect();
    let rows = read_rows(&format!("1,\"x\n{tail}"));
    assert_eq!(rows.len(), 20_001);
    assert_eq!(*rows[0].1.as_ref().unwrap_err(), unclosed("3 of line 2"));
    assert!(rows[1..].iter().all(|(_, row)| row.is_ok()));
}

#[test]
fn an_overlong_line_spoils_only_itself() {
    let rows = read_rows(&format!("{},1,\n2,2,\n", "x".repeat(MAX_LINE)));
    assert_eq!(orders(&rows), [(2, "bad"), (3, "2")]);
    assert_eq!(rows[0].1.as_ref().unwrap_err(), "line must be at most 64 KiB long");
}

#[test]
fn invalid_headers_are_refused() {
    let known = "order_id, customer_id, storage_until, weight, weight_grams, price, price_minor, packaging, \
                 pickup_point_id, request_id";
    let rule = format!("the first line must name the columns: {known}");
    assert_eq!(header_fault(" \n"), (None, format!("the file is empty; {rule}")));
    let unknown = |names| format!("the header has unknown columns: {names}; {rule}");
    let required = "order_id,customer_id,storage_until";
    for (text, fault) in [
        ("Номер отправления;Клиент\n".to_owned(), unknown("\"Номер отправления\", \"Клиент\"")),
        (format!("{required},colour\n"), unknown("\"colour\"")),
        ("order_id,order_id\n".to_owned(), "the header has the column order_id twice".to_owned()),
        (
            format!("{required},weight,weight_grams\n"),
            "the header has both weight and weight_grams; remove one".to_owned(),
        ),
        (
            format!("{required},price,price_minor\n"),
            "the header has both price and price_minor; remove one".to_owned(),
        ),
        ("order_id,customer_id\n".to_owned(), "the header has no column storage_until".to_owned()),
        (
            "\"order_id\"x,customer_id\n".to_owned(),
            "line has text after its closing quote, at character 11 of line 1; \
             write a quote inside quotes twice: \"\""
                .to_owned(),
        ),
    ] {
        assert_eq!(header_fault(&text), (Some(1), fault));
    }
    let mut many = String::new();
    for number in 0..1_000 {
        let _ = write!(many, "{number:100},");
    }
    assert!(header_fault(&many).1.len() < 1_000);
}
