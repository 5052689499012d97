//! Properties of the reader: arbitrary files.

use std::io::{BufReader, Cursor};

use proptest::prelude::*;

use super::encoding::Encoding;
use super::row::{FileFault, Format, ParsedRow};
use super::source::Rows;

/// Reads a file through a buffer of that size. Returns the rows, or the fault of
/// the file.
fn read(
    bytes: &[u8],
    format: Option<Format>,
    encoding: Encoding,
    buffer: usize,
) -> Result<Vec<ParsedRow>, String> {
    let input = BufReader::with_capacity(buffer, Cursor::new(bytes.to_vec()));
    let mut rows = match Rows::new(input, format, encoding) {
        Ok(rows) => rows,
        Err(FileFault::Content { line, message }) => return Err(format!("{line:?} {message}")),
        Err(FileFault::Io(error)) => panic!("{error}"),
    };
    Ok(std::iter::from_fn(|| rows.next().unwrap()).collect())
}

fn encoding() -> impl Strategy<Value = Encoding> {
    prop_oneof![
        3 => Just(Encoding::Auto),
        1 => Just(Encoding::Utf8),
        1 => Just(Encoding::Utf16Le),
        1 => Just(Encoding::Utf16Be),
        1 => Just(Encoding::Windows1251),
    ]
}

fn format() -> impl Strategy<Value = Option<Format>> {
    prop_oneof![Just(None), Just(Some(Format::Csv)), Just(Some(Format::Ndjson))]
}

/// Pieces of which files consist, so that most of them get past the header.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just("order_id,customer_id,storage_until\n"),
        Just("\u{feff}sep=;\r\nORDER_ID;customer_id;storage_until;weight;;\r"),
        Just("order_id\tstorage_until\tcustomer_id\tprice\r\n"),
        Just("{\"orderId\":\"1\"}\n"),
        Just("{\n"),
        Just(""),
    ];
    let piece = prop_oneof![
        Just("\n"),
        Just("\r"),
        Just("\r\n"),
        Just(","),
        Just(";"),
        Just("\t"),
        Just("\""),
        Just("\"\""),
        Just("1"),
        Just("7"),
        Just("2026-12-31T10:00:00Z"),
        Just("1,5 кг"),
        Just("{\"orderId\":\"2\"}"),
        Just("="),
        Just("'"),
        Just("ы"),
    ];
    let text = (start, prop::collection::vec(piece, 0..60))
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()));
    let utf_16 =
        |bytes: fn(u16) -> [u8; 2]| move |text: String| text.encode_utf16().flat_map(bytes).collect();
    prop_oneof![
        4 => text.clone().prop_map(String::into_bytes),
        1 => text.clone().prop_map(utf_16(u16::to_le_bytes)),
        1 => text.clone().prop_map(utf_16(u16::to_be_bytes)),
        1 => text.prop_map(|text| encoding_rs::WINDOWS_1251.encode(&text).0.into_owned()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #[test]
    fn any_file_is_read_alike_in_any_chunks(
        bytes in file(), format in format(), encoding in encoding(), buffer in 1_usize..40
    ) {
        let whole = read(&bytes, format, encoding, bytes.len() + 1);
        prop_assert_eq!(&read(&bytes, format, encoding, buffer), &whole);
        prop_assert_eq!(&read(&bytes, format, encoding, 1), &whole);
        let rows = whole.unwrap_or_default();
        prop_assert!(rows.len() <= bytes.len());
        prop_assert!(rows.is_sorted_by(|one, other| one.line < other.line && one.end <= other.end));
        prop_assert!(rows.iter().all(|row| row.end <= bytes.len() as u64));
    }

    #[test]
    fn an_encoding_does_not_change_the_rows(
        rows in prop::collection::vec(("[A-Z0-9]{1,9}", 1_u32..99_999), 1..20),
        line_end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
    ) {
        let lines = rows.iter().map(|(id, grams)| {
            format!("{id};7;2026-12-31T10:00:00Z;{},{:03} кг{line_end}", grams / 1_000, grams % 1_000)
        });
        let text = format!("order_id;customer_id;storage_until;weight{line_end}{}", lines.collect::<String>());
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for bytes in [
            text.clone().into_bytes(),
            encoding_rs::WINDOWS_1251.encode(&text).0.into_owned(),
            utf_16(u16::to_le_bytes),
            utf_16(u16::to_be_bytes),
        ] {
            let parsed = read(&bytes, None, Encoding::Auto, 64).unwrap();
            let values = parsed.into_iter().map(|row| {
                let request = row.content.unwrap();
                (request.order_id, request.weight_grams)
            });
            let expected = rows.iter().map(|(id, grams)| (id.clone(), Some(i64::from(*grams))));
            prop_assert!(values.eq(expected));
        }
    }
}
