//! Files that are not text, by the bytes that they begin with.

/// Bytes of a file that are enough to recognize it.
pub(super) const START: u64 = 128;

const TO_CSV: &str = "open it in the program that it is for and save the table as CSV";

/// First bytes, kind, what to do. `FILE` stands for the name of the file.
const KINDS: [(&[u8], &str, &str); 12] = [
    (
        b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1",
        "an Excel workbook (xls)",
        "open it in Excel and save the sheet as CSV",
    ),
    (b"\x1F\x8B", "gzip data", "decompress it: gunzip -c FILE | pvz import -"),
    (b"\x28\xB5\x2F\xFD", "zstd data", "decompress it: zstd -dc FILE | pvz import -"),
    (b"\xFD7zXZ\0", "xz data", "decompress it: xz -dc FILE | pvz import -"),
    (b"BZh", "bzip2 data", "decompress it: bzip2 -dc FILE | pvz import -"),
    (b"\x04\x22\x4D\x18", "LZ4 data", "decompress it: lz4 -dc FILE | pvz import -"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive", "extract the file that is in it"),
    (b"Rar!\x1A\x07", "a RAR archive", "extract the file that is in it"),
    (b"%PDF-", "a PDF document", "ask its sender for the table as CSV"),
    (b"\xFF\xFE\0\0", "text in UTF-32", "save it in UTF-8"),
    (b"\0\0\xFE\xFF", "text in UTF-32", "save it in UTF-8"),
    (b"<", "an HTML or XML document", TO_CSV),
];

/// Returns the kind of a file that is not text, and what to do with it.
pub(super) fn recognize(start: &[u8]) -> Option<(&'static str, &'static str)> {
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Some(zip(start));
    }
    let found = KINDS.iter().find(|(bytes, ..)| start.starts_with(bytes));
    found.map(|(_, kind, advice)| (*kind, *advice))
}

/// Tells the kinds of ZIP archives apart by the name of the first file in them.
fn zip(start: &[u8]) -> (&'static str, &'static str) {
    let contains = |text: &str| start.windows(text.len()).any(|window| window == text.as_bytes());
    if ["[Content_Types].xml", "_rels/", "docProps/", "xl/"].into_iter().any(contains) {
        ("an Excel workbook (xlsx)", "open it in Excel and save the sheet as CSV UTF-8")
    } else if contains("opendocument.spreadsheet") {
        ("an OpenDocument spreadsheet (ods)", "open it in LibreOffice and save the sheet as CSV")
    } else {
        ("a ZIP archive", "extract the file that is in it: unzip -p FILE | pvz import -")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_recognized_by_their_first_bytes() {
        let header = "PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0abcdefghijkl\x13\0\x08\x02";
        for (start, kind) in [
            (format!("{header}[Content_Types].xml"), "an Excel workbook (xlsx)"),
            (
                format!("{header}mimetypeapplication/vnd.oasis.opendocument.spreadsheet"),
                "an OpenDocument spreadsheet (ods)",
            ),
            (format!("{header}day.csv"), "a ZIP archive"),
            ("<!DOCTYPE html>".to_owned(), "an HTML or XML document"),
        ] {
            assert_eq!(recognize(start.as_bytes()).map(|(kind, _)| kind), Some(kind));
        }
        assert_eq!(recognize(b"\x1F\x8B\x08\0").unwrap().0, "gzip data");
        for text in [&b""[..], b"order_id,", b"{\"orderId\"", b"\xFF\xFEo\0", b"\xEF\xBB\xBFo", b"P", b"\x1F"]
        {
            assert_eq!(recognize(text), None);
        }
    }
}
