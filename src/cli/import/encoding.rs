//! Character encodings of files: detection, line endings, decoding.

use encoding_rs::{UTF_16BE, UTF_16LE, WINDOWS_1251};

/// The encoding of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8, and Windows-1251 for the lines that are not UTF-8. A wrong guess
    /// does no harm: ids, dates and packaging are ASCII, so the letters are those
    /// of a unit (`кг`) or are refused.
    Auto,
    Utf8,
    Utf16Le,
    Utf16Be,
    Windows1251,
}

/// The names for `--encoding`.
const NAMES: [(&str, Encoding); 5] = [
    ("auto", Encoding::Auto),
    ("utf-8", Encoding::Utf8),
    ("utf-16le", Encoding::Utf16Le),
    ("utf-16be", Encoding::Utf16Be),
    ("windows-1251", Encoding::Windows1251),
];

/// The character at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    LineFeed,
    CarriageReturn,
}

impl Encoding {
    /// Returns the encoding with that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, encoding)| *encoding)
    }

    /// Returns the name.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, encoding)| *encoding == self).map_or("auto", |(name, _)| name)
    }

    /// Returns the encoding that the byte-order mark at the start of a file names.
    pub(super) fn by_mark(start: &[u8]) -> Option<Self> {
        match start {
            [0xEF, 0xBB, 0xBF, ..] => Some(Self::Utf8),
            [0xFF, 0xFE, ..] => Some(Self::Utf16Le),
            [0xFE, 0xFF, ..] => Some(Self::Utf16Be),
            _ => None,
        }
    }

    /// Returns the encoding of a file without a byte-order mark. A file begins
    /// with ASCII characters: the name of a column or a brace.
    pub(super) fn by_zeros(start: &[u8]) -> Self {
        match start {
            [1..=255, 0, 1..=255, 0, ..] => Self::Utf16Le,
            [0, 1..=255, 0, 1..=255, ..] => Self::Utf16Be,
            _ => Self::Auto,
        }
    }

    /// Returns the number of bytes of a code unit: 1 or 2.
    pub(super) fn unit(self) -> usize {
        match self {
            Self::Auto | Self::Utf8 | Self::Windows1251 => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
        }
    }

    /// Returns the end of a line if the code unit is one: its last byte, and the
    /// byte before that.
    pub(super) fn line_end(self, previous: u8, last: u8) -> Option<LineEnd> {
        let (high, low) = match self {
            Self::Auto | Self::Utf8 | Self::Windows1251 => (0, last),
            Self::Utf16Le => (last, previous),
            Self::Utf16Be => (previous, last),
        };
        match (high, low) {
            (0, b'\n') => Some(LineEnd::LineFeed),
            (0, b'\r') => Some(LineEnd::CarriageReturn),
            _ => None,
        }
    }

    /// Decodes a line. Returns `None` if it is not text in this encoding.
    pub(super) fn decode(self, bytes: Vec<u8>) -> Option<String> {
        let encoding = match self {
            Self::Utf8 => return String::from_utf8(bytes).ok(),
            Self::Auto => match String::from_utf8(bytes) {
                Ok(text) => return Some(text),
                Err(error) => return Self::Windows1251.decode(error.into_bytes()),
            },
            Self::Utf16Le => UTF_16LE,
            Self::Utf16Be => UTF_16BE,
            Self::Windows1251 => WINDOWS_1251,
        };
        let text = encoding.decode_without_bom_handling_and_without_replacement(&bytes)?;
        Some(text.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_have_names() {
        for (name, encoding) in NAMES {
            assert_eq!(Encoding::parse(&name.to_uppercase()), Some(encoding));
            assert_eq!(encoding.name(), name);
        }
        assert_eq!(Encoding::parse("koi8-r"), None);
    }

    #[test]
    fn encodings_are_detected_by_their_first_bytes() {
        for (start, encoding) in [
            (&b"\xEF\xBB\xBForder_id"[..], Some(Encoding::Utf8)),
            (b"\xFF\xFEo\0", Some(Encoding::Utf16Le)),
            (b"\xFE\xFF\0o", Some(Encoding::Utf16Be)),
            (b"order_id", None),
            (b"\xFF", None),
            (b"", None),
        ] {
            assert_eq!(Encoding::by_mark(start), encoding, "{start:?}");
        }
        for (start, encoding) in [
            (&b"o\0r\0"[..], Encoding::Utf16Le),
            (b"\0o\0r", Encoding::Utf16Be),
            (b"order_id", Encoding::Auto),
            (b"\0\0\0\0", Encoding::Auto),
            (b"o\0r", Encoding::Auto),
        ] {
            assert_eq!(Encoding::by_zeros(start), encoding, "{start:?}");
        }
    }

    #[test]
    fn lines_are_decoded_strictly() {
        let kg = Some("кг".to_owned());
        assert_eq!(Encoding::Auto.decode("кг".into()), kg);
        assert_eq!(Encoding::Auto.decode(b"\xEA\xE3".to_vec()), kg);
        assert_eq!(Encoding::Windows1251.decode(b"\xEA\xE3".to_vec()), kg);
        assert_eq!(Encoding::Utf8.decode(b"\xEA\xE3".to_vec()), None);
        assert_eq!(Encoding::Utf16Le.decode(b"\x3A\x04\x33\x04".to_vec()), kg);
        assert_eq!(Encoding::Utf16Be.decode(b"\x04\x3A\x04\x33".to_vec()), kg);
        assert_eq!(Encoding::Utf16Le.decode(b"\x3A\x04\x33".to_vec()), None, "half a unit");
        assert_eq!(Encoding::Utf16Le.decode(b"\x00\xD8".to_vec()), None, "half a surrogate pair");
    }
}
