//! Instants: UTC, with microsecond precision.

use std::fmt;
use std::time::Duration;

const MICROS: i64 = 1_000_000;
/// 0001-01-01T00:00:00Z and the second after 9999-12-31T23:59:59Z.
const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;

/// An instant in microseconds since 1970-01-01T00:00:00Z, from year 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest instant.
    pub const MAX: Self = Self(SECONDS.end * MICROS - 1);

    /// Converts from microseconds since the epoch; `None` outside the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        SECONDS.contains(&micros.div_euclid(MICROS)).then_some(Self(micros))
    }

    /// Converts from seconds and nanoseconds, truncated to microseconds. `None` outside the
    /// years 1 to 9999, or if the nanoseconds are not 0 to 999,999,999.
    pub fn from_parts(seconds: i64, nanos: i32) -> Option<Self> {
        if !SECONDS.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
            return None;
        }
        Some(Self(seconds * MICROS + i64::from(nanos / 1_000)))
    }

    /// Returns the microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since the epoch and the nanoseconds within the second.
    pub fn parts(self) -> (i64, i32) {
        let nanos = i32::try_from(self.0.rem_euclid(MICROS) * 1_000).unwrap_or_default();
        (self.0.div_euclid(MICROS), nanos)
    }

    /// Adds a duration, saturating at [`Timestamp::MAX`].
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros)).min(Self::MAX)
    }
}

impl fmt::Display for Timestamp {
    /// Formats as RFC 3339 with `Z` and 0, 3 or 6 decimals, like the proto3 JSON mapping.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = self.parts();
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match nanos / 1_000 {
            0 => {}
            micros if micros % 1_000 == 0 => write!(formatter, ".{:03}", micros / 1_000)?,
            micros => write!(formatter, ".{micros:06}")?,
        }
        formatter.write_str("Z")
    }
}

/// Converts days since 1970-01-01 to a civil date: Howard Hinnant's `civil_from_days`, which
/// counts years from March in eras of 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Converts a civil date to days since 1970-01-01: Howard Hinnant's `days_from_civil`. An
/// invalid date yields the day of another date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    year.div_euclid(400) * 146_097 + of_era - 719_468
}

/// A UTC day, as days since 1970-01-01, from year 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// Returns the day of an instant.
    pub fn of(instant: Timestamp) -> Self {
        Self(i32::try_from(instant.parts().0.div_euclid(86_400)).unwrap_or_default())
    }

    /// Parses `2026-12-31`.
    ///
    /// # Errors
    /// Returns a predicate of the field's name: "must be …".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "must be a day such as 2026-12-31";
        let fields: Vec<&str> = text.split('-').collect();
        let number = |index: usize, length: usize| {
            let field = fields.get(index).filter(|field| field.len() == length)?;
            if field.bytes().all(|byte| byte.is_ascii_digit()) { field.parse::<i64>().ok() } else { None }
        };
        let (Some(year), Some(month), Some(day), 3) =
            (number(0, 4), number(1, 2), number(2, 2), fields.len())
        else {
            return Err(EXPECTED);
        };
        // Refuses dates such as June 31.
        let days = days(year, month, day);
        let there_is = year >= 1 && civil(days) == (year, month, day);
        if there_is { i32::try_from(days).map(Self).map_err(|_| EXPECTED) } else { Err(EXPECTED) }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.into());
        write!(formatter, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Day, Timestamp};

    #[test]
    fn every_day_is_read_as_it_is_written() {
        let first = Day::of(Timestamp::from_parts(super::SECONDS.start, 0).unwrap());
        let last = Day::of(Timestamp::MAX);
        assert_eq!((first.to_string(), last.to_string()), ("0001-01-01".into(), "9999-12-31".into()));
        for day in (first.0..=last.0).step_by(97) {
            assert_eq!(Day::parse(&Day(day).to_string()), Ok(Day(day)));
        }
        for wrong in [
            "",
            "2026-02-30",
            "2026-13-01",
            "0000-01-01",
            "2026-1-01",
            "20260101",
            "2026-01-01T",
            "+026-01-01",
        ] {
            assert!(Day::parse(wrong).is_err(), "{wrong}");
        }
    }
}
