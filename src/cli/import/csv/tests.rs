use std::fmt::Write as _;
use std::io::BufReader;

use proptest::prelude::*;

use super::*;

/// Returns the line of each row, and its request or the message of its refusal.
fn read(text: &[u8]) -> Vec<(u64, Result<AcceptOrderRequest, String>)> {
    let mut rows = CsvRows::new(BufReader::with_capacity(16, text)).unwrap().expect("a valid header");
    let next = || rows.next().unwrap();
    std::iter::from_fn(next).map(|row| (row.line, row.content.map_err(|bad| bad.refusal.message))).collect()
}

fn header_fault(text: &str) -> String {
    let header = CsvRows::new(text.as_bytes()).unwrap();
    header.map(|_| ()).expect_err("an invalid header").refusal.message
}

fn orders(rows: &[(u64, Result<AcceptOrderRequest, String>)]) -> Vec<(u64, &str)> {
    rows.iter()
        .map(|(line, row)| (*line, row.as_ref().map_or("bad", |request| request.order_id.as_str())))
        .collect()
}

#[test]
fn columns_may_have_any_order_and_readable_units() {
    let text = "\u{feff}price,order_id,weight,packaging,customer_id,storage_until,pickup_point_id,request_id\r\n\
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
    let rows = read(b"order_id,weight_grams,price\n1,1.5,1.999\n2,2,2\n3,3\n4,4,\xFF\n5,5,5\n");
    assert_eq!(orders(&rows), [(2, "bad"), (3, "2"), (4, "bad"), (5, "bad"), (6, "5")]);
    let fault = |row: usize| rows[row].1.as_ref().unwrap_err().as_str();
    assert_eq!(fault(0), "the request is not valid: weight_grams must be a whole number (and 1 more)");
    assert_eq!(fault(2), "the request is not valid: line has 2 fields, but the header has 3");
    assert_eq!(fault(3), "the request is not valid: line must be UTF-8");
}

#[test]
fn quoted_fields_may_span_lines() {
    let rows = read(b"order_id,customer_id\n\"a\nb\"\"c,\",1\n\n2,2\n\"3\",3");
    assert_eq!(orders(&rows), [(2, "a\nb\"c,"), (5, "2"), (6, "3")]);
}

#[test]
fn an_unclosed_quote_spoils_only_its_line() {
    let rows = read(b"order_id,customer_id\n1,1\n2,\"x\n3,3\n4,4\n");
    assert_eq!(orders(&rows), [(2, "1"), (3, "bad"), (4, "3"), (5, "4")]);

    let mut text = b"order_id,customer_id\n1,\"x\n".to_vec();
    let tail: String = (0..20_000).flat_map(|number| [number.to_string(), ",7\n".to_owned()]).collect();
    text.extend_from_slice(tail.as_bytes());
    let rows = read(&text);
    assert_eq!(rows.len(), 20_001);
    assert_eq!(rows[0].1.as_ref().unwrap_err().as_str(), {
        "the request is not valid: line has a quote that is not closed within 64 KiB"
    });
    assert!(rows[1..].iter().all(|(_, row)| row.is_ok()));
}

#[test]
fn an_overlong_line_spoils_only_itself() {
    let long = "x".repeat(MAX_LINE);
    let rows = read(format!("order_id,customer_id\n{long},1\n2,2\n").as_bytes());
    assert_eq!(orders(&rows), [(2, "bad"), (3, "2")]);
    assert_eq!(rows[0].1.as_ref().unwrap_err(), "the request is not valid: line must be at most 64 KiB long");
}

#[test]
fn invalid_headers_are_refused() {
    for (text, fault) in [
        ("", "header is missing: the file is empty"),
        ("order_id,colour\n", "header has the unknown column \"colour\""),
        ("order_id,order_id\n", "header has the column \"order_id\" twice"),
        ("weight,weight_grams\n", "header has two columns for the weight"),
        ("price,price_minor\n", "header has two columns for the price"),
    ] {
        assert_eq!(header_fault(text), format!("the request is not valid: {fault}"));
    }
}

/// Quotes a field as RFC 4180 does.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

proptest! {
    #[test]
    fn quoted_fields_round_trip(
        records in prop::collection::vec(("[a-z\",\n ]{0,20}", "[a-z\",\n ]{1,20}"), 0..20)
    ) {
        let mut text = String::from("order_id,customer_id\n");
        for (order, customer) in &records {
            let _ = writeln!(text, "{},{}", quoted(order), quoted(customer));
        }
        let rows = read(text.as_bytes());
        let read: Vec<_> =
            rows.into_iter().map(|(_, row)| row.map(|row| (row.order_id, row.customer_id))).collect();
        let written: Vec<_> = records.into_iter().map(Ok).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_add_no_rows(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut text = b"order_id,customer_id\n".to_vec();
        text.extend_from_slice(&bytes);
        let rows = read(&text);
        let lines = bytes.split(|byte| *byte == b'\n').count();
        prop_assert!(rows.len() <= lines);
    }
}
