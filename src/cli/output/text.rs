//! Formats values for people: local times, thousands separators, major units.

use chrono::Local;

use crate::proto::Timestamp;
use crate::proto::v1::OrderState;

/// Formats an integer with commas between thousands.
pub(in crate::cli) fn number(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = if value < 0 { String::from("-") } else { String::new() };
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats an amount of minor units in major units, with the currency.
pub(in crate::cli) fn money(minor: i64, currency: &str) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let minor = minor.unsigned_abs();
    let major = i64::try_from(minor / 100).unwrap_or(i64::MAX);
    let space = if currency.is_empty() { "" } else { " " };
    format!("{sign}{}.{:02}{space}{currency}", number(major), minor % 100)
}

/// Formats a weight in grams.
pub(in crate::cli) fn weight(grams: Option<i64>) -> String {
    grams.map_or_else(|| "-".to_owned(), |grams| format!("{} g", number(grams)))
}

/// Formats an instant in local time, with the UTC offset.
pub(in crate::cli) fn instant(at: Option<&Timestamp>) -> String {
    let Some(at) = at.and_then(Timestamp::to_chrono) else { return "-".to_owned() };
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// Returns the name of a state on the command line.
pub(in crate::cli) fn state_name(state: i32) -> String {
    let name = OrderState::try_from(state).unwrap_or_default().as_str_name();
    name.trim_start_matches("ORDER_STATE_").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_234_567, "-1,234,567"),
            (i64::MIN, "-9,223,372,036,854,775,808"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn money_is_exact() {
        assert_eq!(money(0, "RUB"), "0.00 RUB");
        assert_eq!(money(5, "RUB"), "0.05 RUB");
        assert_eq!(money(-5, "RUB"), "-0.05 RUB");
        assert_eq!(money(123_456_789, "RUB"), "1,234,567.89 RUB");
        assert_eq!(money(123, ""), "1.23");
    }
}
