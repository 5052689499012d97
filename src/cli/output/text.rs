//! Formats values for people: local times, thousands separators, major units.

use chrono::Local;

use crate::proto::Timestamp;
use crate::proto::v1::{GetStatisticsResponse, OrderState};

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

/// Returns a line that says up to when the events are counted.
pub(in crate::cli) fn counted(statistics: &GetStatisticsResponse) -> String {
    let Some(as_of) = &statistics.as_of else {
        return "as of: not known; no consumer has read from where this server publishes\n".to_owned();
    };
    let as_of = instant(Some(as_of));
    let lag = statistics.lag_events.unwrap_or_default();
    if lag == 0 {
        return format!("as of {as_of}: all events are counted\n");
    }
    let (lag, seconds) = (number(lag), number(statistics.lag_seconds.unwrap_or_default()));
    let idle = match statistics.consumers {
        Some(0) => "; no consumer is running: run `pvz consume`",
        _ => "",
    };
    format!("as of {as_of}: up to {lag} later events are not counted yet, the oldest for {seconds} s{idle}\n")
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
    fn lag_of_the_statistics_is_named() {
        let mut statistics = GetStatisticsResponse::default();
        assert_eq!(
            counted(&statistics),
            "as of: not known; no consumer has read from where this server publishes\n"
        );
        statistics.as_of = Timestamp::parse_rfc3339("2026-12-01T09:15:00Z").ok();
        statistics.lag_events = Some(0);
        statistics.consumers = Some(0);
        assert!(counted(&statistics).ends_with(": all events are counted\n"));
        statistics.lag_events = Some(1_200);
        statistics.lag_seconds = Some(90);
        let later = "up to 1,200 later events are not counted yet, the oldest for 90 s";
        assert!(
            counted(&statistics).ends_with(&format!("{later}; no consumer is running: run `pvz consume`\n"))
        );
        statistics.consumers = Some(2);
        assert!(counted(&statistics).ends_with(&format!("{later}\n")));
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
