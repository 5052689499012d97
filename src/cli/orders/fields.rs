//! Parses fields as people write them: `1,5 kg`, `199.90`, `box+film`. Decimals
//! are converted exactly, never through a float, and never rounded.

use crate::proto::v1::OrderState;

/// A text that is not a decimal number with the allowed number of decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecimalFault {
    NotANumber,
    TooManyPlaces,
    TooLarge,
}

/// Parses a decimal number as a multiple of its last decimal place: `1.5` with
/// three places is 1500. A dot or a comma begins the decimals, and spaces may
/// separate thousands, so `1,999` has three decimals and never means 1999.
fn decimal(text: &str, places: usize) -> Result<i64, DecimalFault> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let (whole, fraction) = match digits.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let whole = without_spaces(whole).ok_or(DecimalFault::NotANumber)?;
    if !is_number(&whole) || !fraction.is_none_or(is_number) {
        return Err(DecimalFault::NotANumber);
    }
    let fraction = fraction.unwrap_or_default();
    if fraction.len() > places {
        return Err(DecimalFault::TooManyPlaces);
    }
    format!("{sign}{whole}{fraction:0<places$}").parse().map_err(|_| DecimalFault::TooLarge)
}

/// Removes the spaces, also those that do not break lines, between groups of three digits. Returns
/// `None` if a group has another length.
fn without_spaces(digits: &str) -> Option<String> {
    let mut groups = digits.split([' ', '\u{a0}', '\u{202f}']);
    let first = groups.next().unwrap_or_default();
    let mut joined = first.to_owned();
    for group in groups {
        if group.len() != 3 || !(1..=3).contains(&first.len()) {
            return None;
        }
        joined.push_str(group);
    }
    Some(joined)
}

/// Parses a weight into grams: `1500`, `900 g`, `1.5kg`, `1,5 кг`.
pub(in crate::cli) fn weight(text: &str) -> Result<i64, &'static str> {
    let lower = text.to_lowercase();
    let suffix = |units: &[&str]| units.iter().find_map(|unit| lower.strip_suffix(unit));
    let (amount, places) = if let Some(amount) = suffix(&["kg", "кг"]) {
        (amount, 3)
    } else {
        (suffix(&["g", "г", "гр"]).unwrap_or(&lower), 0)
    };
    decimal(amount.trim_end(), places).map_err(|fault| match fault {
        DecimalFault::NotANumber => "must be a weight such as 1500, 900g, 1.5kg or 1,5 кг",
        DecimalFault::TooManyPlaces if places == 0 => {
            "must be a whole number of grams; a weight without a unit is in grams: 1500, 1.5kg or 1,5kg"
        }
        DecimalFault::TooManyPlaces => {
            "must be a whole number of grams, so kilograms have at most three decimals"
        }
        DecimalFault::TooLarge => "must be 1 to 100000 grams",
    })
}

/// Parses a price in major units, with at most two decimals, into minor units.
pub(in crate::cli) fn price(text: &str) -> Result<i64, &'static str> {
    decimal(text, 2).map_err(|fault| match fault {
        DecimalFault::NotANumber => "must be an amount such as 1999, 199.90 or 199,90",
        DecimalFault::TooManyPlaces => {
            "must have at most two decimals; a dot or comma does not separate thousands: 1999, 199.90 or 199,90"
        }
        DecimalFault::TooLarge => "must be 0 to 10000000000.00",
    })
}

/// Splits packaging codes joined by `+`.
pub(in crate::cli) fn packaging(text: &str) -> Vec<String> {
    if text.is_empty() { Vec::new() } else { text.split('+').map(str::to_owned).collect() }
}

/// Splits ids joined by commas.
pub(super) fn ids(text: Option<String>) -> Vec<String> {
    match text.filter(|text| !text.is_empty()) {
        None => Vec::new(),
        Some(text) => text.split(',').map(str::to_owned).collect(),
    }
}

/// Parses a state from its short or full name, in either case.
pub(in crate::cli) fn state(text: &str) -> Result<i32, &'static str> {
    let name = text.to_ascii_uppercase().replace('-', "_");
    let full = if name.starts_with("ORDER_STATE_") { name } else { format!("ORDER_STATE_{name}") };
    OrderState::from_str_name(&full)
        .map(i32::from)
        .ok_or("must be one of stored, issued, returned, handed_to_courier")
}

/// Parses a 32-bit integer.
pub(super) fn count(text: &str) -> Result<i32, &'static str> {
    text.parse().map_err(|_| "must be a whole number")
}

/// Parses `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, &'static str> {
    text.parse().map_err(|_| "must be true or false")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_without_a_unit_are_grams() {
        for (text, grams) in
            [("1500", 1_500), ("1500g", 1_500), ("1.5kg", 1_500), ("2kg", 2_000), ("0.001kg", 1)]
        {
            assert_eq!(weight(text), Ok(grams), "{text}");
        }
        for (text, grams) in [
            ("1.5 kg", 1_500),
            ("1,5kg", 1_500),
            ("1,5 кг", 1_500),
            ("1,500kg", 1_500),
            ("900g", 900),
            ("900 г", 900),
            ("900гр", 900),
            ("2 КГ", 2_000),
            ("1 KG", 1_000),
            ("1 500", 1_500),
            ("12\u{a0}000 g", 12_000),
        ] {
            assert_eq!(weight(text), Ok(grams), "{text}");
        }
        assert_eq!(weight("-1"), Ok(-1), "the server refuses the sign");
        for text in [
            "1.5", "1.5g", "1,500 g", "1.0005kg", "kg", "g", "кг", "1e3", "+1", ".5kg", "5.kg", "1 5",
            "1 50 kg", "1500 500", "1..5kg", "1.5,5kg", "٣", "1.5lb", "1.5kgs",
        ] {
            assert!(weight(text).is_err(), "{text}");
        }
        assert_eq!(weight("9223372036854775808"), Err("must be 1 to 100000 grams"));
    }

    #[test]
    fn prices_have_at_most_two_decimals() {
        for (text, minor) in [
            ("199.90", 19_990),
            ("199,90", 19_990),
            ("199.9", 19_990),
            ("1999", 199_900),
            ("1 999,90", 199_990),
            ("1\u{a0}234\u{202f}567.89", 123_456_789),
            ("0", 0),
            ("-0.05", -5),
            ("0.29", 29),
        ] {
            assert_eq!(price(text), Ok(minor), "{text}");
        }
        for text in [
            "",
            "-",
            ".5",
            "1.",
            ",5",
            "NaN",
            "1e2",
            "1.999,90",
            "1,999.90",
            "1 99",
            " 1",
            "99999999999999999999",
        ] {
            assert!(price(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_separator_before_three_digits_is_not_taken_for_thousands() {
        for text in ["1,999", "1.999", "199.900", "1999,000"] {
            assert!(price(text).unwrap_err().contains("does not separate thousands"), "{text}");
        }
    }

    #[test]
    fn states_have_short_and_full_names() {
        for name in ["stored", "STORED", "ORDER_STATE_STORED", "order_state_stored"] {
            assert_eq!(state(name), Ok(OrderState::Stored.into()));
        }
        assert_eq!(state("handed-to-courier"), Ok(OrderState::HandedToCourier.into()));
        assert!(state("lost").is_err());
        assert!(state("").is_err());
    }

    proptest! {
        #[test]
        fn every_amount_round_trips(minor: i64) {
            let sign = if minor < 0 { "-" } else { "" };
            let amount = minor.unsigned_abs();
            let text = format!("{sign}{}.{:02}", amount / 100, amount % 100);
            prop_assert_eq!(price(&text), Ok(minor));
        }

        #[test]
        fn every_weight_in_kilograms_round_trips(grams in 0_i64..1_000_000_000) {
            let text = format!("{}.{:03}kg", grams / 1_000, grams % 1_000);
            prop_assert_eq!(weight(&text), Ok(grams));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*", places in 0_usize..6) {
            let _ = decimal(&text, places);
        }
    }
}
