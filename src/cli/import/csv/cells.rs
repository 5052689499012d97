//! The cells of a table as spreadsheets and couriers write them.

/// Longest cell that a message repeats, in characters.
const ECHO_LIMIT: usize = 64;

/// Returns the content of a field: without blanks around it, and without the
/// marks that spreadsheets use for text, `="0012"` and `'0012`.
pub(super) fn content(field: &str) -> &str {
    let text = field.trim_matches([' ', '\t', '\u{a0}']);
    if let Some(text) = text.strip_prefix("=\"").and_then(|text| text.strip_suffix('"')) {
        return text;
    }
    text.strip_prefix('\'').unwrap_or(text)
}

/// Returns a text in quotes for a message.
pub(super) fn echo(text: &str) -> String {
    let shown: String = text.chars().take(ECHO_LIMIT).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{more}")
}

/// Checks that a spreadsheet has not turned an id into a number.
pub(super) fn id(text: &str) -> Result<String, String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| text.split(['.', ',']).all(digits) && text.split(['.', ',']).count() <= 2;
    if let Some((mantissa, exponent)) = text.split_once(['E', 'e'])
        && exponent.strip_prefix(['+', '-']).is_some_and(digits)
        && number(mantissa)
    {
        return Err(format!(
            "has lost digits in a spreadsheet: {}; format the column as text there and enter the ids again",
            echo(text)
        ));
    }
    if text.strip_suffix(".0").or_else(|| text.strip_suffix(",0")).is_some_and(digits) {
        return Err(format!(
            "has become a decimal number in another program: {}; export the column as text",
            echo(text)
        ));
    }
    Ok(text.to_owned())
}

/// Parses a weight or a price as on the command line. Where commas separate the
/// fields, `"1,500"` could be one and a half or fifteen hundred.
pub(super) fn amount(
    text: &str,
    delimiter: char,
    parse: impl FnOnce(&str) -> Result<i64, &'static str>,
) -> Result<i64, &'static str> {
    if delimiter == ',' && text.contains(',') {
        return Err("must have a decimal point where commas separate the fields");
    }
    parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::orders::{price, weight};

    #[test]
    fn marks_of_spreadsheets_are_removed() {
        for (field, text) in [
            ("0012", "0012"),
            (" 0012\u{a0}", "0012"),
            ("'0012", "0012"),
            ("=\"0012\"", "0012"),
            ("=\"\"", ""),
            ("=\"", "=\""),
            ("=1+1", "=1+1"),
            ("a\n", "a\n"),
        ] {
            assert_eq!(content(field), text, "{field}");
        }
    }

    #[test]
    fn ids_that_a_spreadsheet_changed_are_refused() {
        for text in ["1.23E+12", "1,23457E+12", "5E-05", "1e+3", "12345.0", "7,0"] {
            assert!(id(text).is_err(), "{text}");
        }
        for text in ["", "0012", "12E5", "E-1", "A-1.0", "1.2.0", "1.2.3E+1", "1.05", "OZ-1E-2", ".0"] {
            assert_eq!(id(text), Ok(text.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_decimal_comma_needs_another_delimiter() {
        assert_eq!(amount("1,5 кг", ';', weight), Ok(1_500));
        assert_eq!(amount("1 199,90", '\t', price), Ok(119_990));
        assert_eq!(amount("1.5 кг", ',', weight), Ok(1_500));
        let fault = Err("must have a decimal point where commas separate the fields");
        assert_eq!(amount("199,90", ',', price), fault);
        assert_eq!(amount("1,500kg", ',', weight), fault);
    }
}
