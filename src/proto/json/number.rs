//! Numbers and enums. A number is decided on its text: a double would round
//! `99999.99999999999999` to 100000.

use std::fmt::Display;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize as _, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

/// The most zeros at the end of an integer. More are beyond 64 bits.
const MAX_ZEROS: i64 = 18;

/// Reads the value of a number or an enum from JSON. A number that is an integer
/// reaches the visitor as one, in every notation.
///
/// # Errors
/// The visitor's. A list or an object is given to it without its contents.
pub(super) fn read<'de, D: Deserializer<'de>, V: Visitor<'de>>(
    source: D,
    visitor: V,
) -> Result<V::Value, D::Error> {
    let value = <&RawValue>::deserialize(source)?;
    match value.get().as_bytes().first() {
        Some(b'[') => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
        Some(b'{') => visitor.visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
        _ => match integer(value.get()) {
            Some(number) => visitor.visit_i64(number),
            None => value.deserialize_any(visitor).map_err(custom),
        },
    }
}

fn custom<E: Error>(error: impl Display) -> E {
    E::custom(error)
}

/// Returns the decimal notation of a quoted number with a fraction or an
/// exponent, if it is an integer.
pub(super) fn quoted(text: &str) -> Option<String> {
    let has_point_or_exponent = || text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number && has_point_or_exponent() { integer(text).map(|number| number.to_string()) } else { None }
}

/// Returns the integer that a JSON number denotes: `-5`, `5.0`, `5e3`. Returns
/// `None` if the text is not a JSON number, or the number is not an integer of 64
/// bits.
fn integer(text: &str) -> Option<i64> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_digits = exponent.map(|exponent| exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
    let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
    if has_leading_zero || ![Some(whole), fraction, exponent_digits].into_iter().flatten().all(are_digits) {
        return None;
    }
    let digits = [whole, fraction.unwrap_or_default()].concat();
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // The value is `significant` times ten to the power of `zeros`.
    let zeros = exponent.map_or(Ok(0), str::parse::<i64>).ok()?;
    let shift = i64::try_from(digits.len() - significant.len()).ok()?;
    let zeros = zeros.checked_add(shift)?.checked_sub(i64::try_from(fraction.map_or(0, str::len)).ok()?)?;
    let zeros = usize::try_from(zeros).ok().filter(|_| zeros <= MAX_ZEROS)?;
    format!("{sign}{significant}{:0<zeros$}", "").parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{integer, quoted};

    #[test]
    fn an_integer_is_decided_on_its_text() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-0.0e-5", Some(0)),
            ("0e99999999999999999999", Some(0)),
            ("5", Some(5)),
            ("-5.0", Some(-5)),
            ("5e3", Some(5_000)),
            ("5E+3", Some(5_000)),
            ("1.5e1", Some(15)),
            ("1500e-2", Some(15)),
            ("100000.000", Some(100_000)),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808.0", Some(i64::MIN)),
            ("9.223372036854775807e18", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("1e19", None),
            ("1e999", None),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", None),
            ("99999.99999999999999", None),
            ("0.1", None),
            ("15e-1", None),
            ("1e", None),
            ("1e+", None),
            (".5", None),
            ("5.", None),
            ("05", None),
            ("+5", None),
            ("5 ", None),
            ("", None),
            ("-", None),
            ("--5", None),
            ("\u{2212}5", None),
            ("\u{0665}", None),
            ("0x10", None),
            ("NaN", None),
        ] {
            assert_eq!(integer(text), expected, "{text}");
        }
    }

    #[test]
    fn a_quoted_number_loses_its_point_and_exponent() {
        assert_eq!(quoted("1.5e1").as_deref(), Some("15"));
        assert_eq!(quoted("-2.0").as_deref(), Some("-2"));
        for text in ["15", "1.5", "ORDER_STATE_STORED", "e3", "", "\u{2212}1.0"] {
            assert_eq!(quoted(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_shifted_integer_is_the_same_integer(number: i64, places in 0_usize..30) {
            let sign = if number < 0 { "-" } else { "" };
            let digits = format!("{:0>1$}", number.unsigned_abs(), places + 1);
            let (whole, fraction) = digits.split_at(digits.len() - places);
            let point = if places == 0 { "" } else { "." };
            prop_assert_eq!(integer(&format!("{sign}{whole}{point}{fraction}e{places}")), Some(number));
            prop_assert_eq!(integer(&format!("{number}{:0<places$}e-{places}", "")), Some(number));
        }

        #[test]
        fn arbitrary_text_is_parsed_without_a_panic(text in "[-+0-9.eE]{0,30}|.*") {
            let _ = integer(&text);
        }
    }
}
