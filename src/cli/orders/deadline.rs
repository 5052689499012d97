//! Parses the storage deadline as people write it: `7d`, `2026-12-31`, `31.12.2026 18:00`, RFC 3339.

use chrono::{DateTime, Local, MappedLocalTime, NaiveDateTime, SubsecRound as _, TimeDelta, TimeZone, Utc};

use crate::proto::Timestamp;

/// The last microsecond of a day: the precision of instants.
const END_OF_DAY: &str = "23:59:59.999999";
const TIMES: &str = "a date (2026-12-31), a local time (2026-12-31 18:00) or an RFC 3339 instant \
                     (2026-12-31T18:00:00+03:00)";
const OUT_OF_RANGE: &str = "must be between the years 1 and 9999";

/// Units of durations, in seconds. A single `m` is missing, because it may mean minutes or months.
const UNITS: [(&[&str], i64); 4] = [
    (&["w", "week", "weeks", "нед"], 7 * 24 * 60 * 60),
    (&["d", "day", "days", "д", "дн"], 24 * 60 * 60),
    (&["h", "hour", "hours", "ч"], 60 * 60),
    (&["min", "мин"], 60),
];

/// Parses a deadline. Durations are counted from `now`, to the whole second. Dates and times without
/// an offset are in `zone`.
pub(super) fn parse<Z: TimeZone>(text: &str, now: DateTime<Utc>, zone: &Z) -> Result<Timestamp, String> {
    let expected = || format!("must be a duration from now (7d), {TIMES}");
    if is_duration(text) {
        let duration = duration(text).ok_or_else(expected)?;
        let at = TimeDelta::try_seconds(duration)
            .and_then(|duration| now.trunc_subsecs(0).checked_add_signed(duration));
        return at.and_then(|at| timestamp(&at)).ok_or_else(|| OUT_OF_RANGE.to_owned());
    }
    time(text, zone, expected)
}

/// Parses the deadline of a row in a file. Durations are refused, because the file would mean other
/// deadlines whenever it is imported again.
pub(in crate::cli) fn in_file(text: &str) -> Result<Timestamp, String> {
    time(text, &Local, || format!("must be {TIMES}"))
}

/// Parses a date or a time, with `expected` as the fault of other texts.
fn time<Z: TimeZone>(text: &str, zone: &Z, expected: impl Fn() -> String) -> Result<Timestamp, String> {
    let text = text.trim();
    let (date, time) = match text.split_once([' ', 'T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let date = iso_date(date);
    let Some(time) = time else {
        let end = naive(&date, END_OF_DAY).ok_or_else(expected)?;
        let end = match zone.from_local_datetime(&end) {
            MappedLocalTime::Single(at) => at,
            // The clocks are set back at midnight.
            MappedLocalTime::Ambiguous(one, other) => one.max(other),
            MappedLocalTime::None => {
                return Err("ends at a time that the local time zone skips; give a time".to_owned());
            }
        };
        return timestamp(&end).ok_or_else(|| OUT_OF_RANGE.to_owned());
    };
    let time = time.trim_start();
    let (clock, offset) = time.split_at(time.find(['Z', 'z', '+', '-']).unwrap_or(time.len()));
    let clock = with_seconds(clock.trim_end());
    if !offset.is_empty() {
        return Timestamp::parse_rfc3339(&format!("{date}T{clock}{offset}")).map_err(|_| expected());
    }
    let local = naive(&date, &clock).ok_or_else(expected)?;
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(at) => timestamp(&at).ok_or_else(|| OUT_OF_RANGE.to_owned()),
        MappedLocalTime::Ambiguous(one, other) => Err(format!(
            "occurs twice in the local time zone, because clocks are set back; add the UTC offset: {} or {}",
            (&one).min(&other).fixed_offset().to_rfc3339(),
            (&one).max(&other).fixed_offset().to_rfc3339()
        )),
        MappedLocalTime::None => Err(
            "does not exist in the local time zone, because clocks are set forward; give another time, or a UTC offset"
                .to_owned(),
        ),
    }
}

/// Returns true if the text is meant as a duration, and not as a date or a time.
pub(super) fn is_duration(text: &str) -> bool {
    !text.is_empty() && !text.contains(['-', '.', ':'])
}

/// Returns the seconds of `7d`, `1d 12h`, `2 weeks`.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let mut total = 0_i64;
    loop {
        let (amount, after) = rest.split_at(rest.find(|character: char| !character.is_ascii_digit())?);
        let after = after.trim_start();
        let end = after.find(|character: char| !character.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = unit.to_lowercase();
        let (_, seconds) = UNITS.iter().find(|(names, _)| names.contains(&unit.as_str()))?;
        total = total.checked_add(amount.parse::<i64>().ok()?.checked_mul(*seconds)?)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// Returns `31.12.2026` as `2026-12-31`, and other texts unchanged.
fn iso_date(date: &str) -> String {
    match date.split('.').collect::<Vec<_>>()[..] {
        [day, month, year] if (day.len(), month.len(), year.len()) == (2, 2, 4) => {
            format!("{year}-{month}-{day}")
        }
        _ => date.to_owned(),
    }
}

/// Returns `18:00` as `18:00:00`, and other texts unchanged.
fn with_seconds(clock: &str) -> String {
    if clock.len() == 5 { format!("{clock}:00") } else { clock.to_owned() }
}

/// Parses a date and a time without an offset, as strictly as RFC 3339.
fn naive(date: &str, clock: &str) -> Option<NaiveDateTime> {
    let utc = Timestamp::parse_rfc3339(&format!("{date}T{clock}Z")).ok()?;
    Some(utc.to_chrono()?.naive_utc())
}

fn timestamp<Z: TimeZone>(at: &DateTime<Z>) -> Option<Timestamp> {
    let timestamp =
        Timestamp { seconds: at.timestamp(), nanos: i32::try_from(at.timestamp_subsec_nanos()).ok()? };
    timestamp.to_chrono().map(|_| timestamp)
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        let now = DateTime::parse_from_rfc3339("2026-11-30T15:00:00.987654321Z").unwrap().to_utc();
        let moscow = FixedOffset::east_opt(3 * 60 * 60).unwrap();
        let at = parse(text, now, &moscow)?;
        Ok(serde_json::to_value(at).unwrap().as_str().unwrap().to_owned())
    }

    #[test]
    fn durations_count_from_now() {
        for (text, at) in [
            ("7d", "2026-12-07T15:00:00Z"),
            ("7 days", "2026-12-07T15:00:00Z"),
            ("7д", "2026-12-07T15:00:00Z"),
            ("2w", "2026-12-14T15:00:00Z"),
            ("12h", "2026-12-01T03:00:00Z"),
            ("1d12h", "2026-12-02T03:00:00Z"),
            ("1D 30min", "2026-12-01T15:30:00Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(at), "{text}");
        }
    }

    #[test]
    fn dates_end_with_the_day_and_times_are_local() {
        for (text, at) in [
            ("2026-12-07", "2026-12-07T20:59:59.999999Z"),
            ("07.12.2026", "2026-12-07T20:59:59.999999Z"),
            ("2026-12-07 18:00", "2026-12-07T15:00:00Z"),
            ("2026-12-07T18:00", "2026-12-07T15:00:00Z"),
            ("07.12.2026 18:00:01.5", "2026-12-07T15:00:01.500Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(at), "{text}");
        }
    }

    #[test]
    fn times_with_an_offset_are_instants() {
        for text in [
            "2026-12-07T18:00:00Z",
            "2026-12-07t18:00:00z",
            "2026-12-07T23:30:00+05:30",
            "2026-12-07T18:00Z",
            // As tables show it.
            "2026-12-07 13:00:00 -05:00",
        ] {
            assert_eq!(parsed(text).as_deref(), Ok("2026-12-07T18:00:00Z"), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            " ",
            "7",
            "d",
            "-7d",
            "+7d",
            "7m",
            "7M",
            "1.5d",
            "7d 12",
            "1y",
            "soon",
            "99999999999999999999d",
            "2026-12",
            "2026-1-7",
            "2026-02-30",
            "12/07/2026",
            "07.12.26",
            "2026-12-07 18",
            "2026-12-07 25:00",
            "2026-12-07T23:59:60Z",
            "2026-12-07 18:00 MSK",
            "2026-12-07T18:00:00+0300",
            "٧d",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert_eq!(parsed("9000000000d").unwrap_err(), OUT_OF_RANGE);
        assert_eq!(parsed("9999999w").unwrap_err(), OUT_OF_RANGE);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "([0-9]{1,20}|[-:.TZ+ dwhчд]|.){0,12}") {
            let _ = parsed(&text);
        }
    }
}
