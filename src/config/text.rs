//! Parsing of values from the file, the environment and flags, with bounds.
//! Every error is a predicate of the key's name ("must be …") and does not
//! repeat the value, because the caller knows which values are secret.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// One hour in milliseconds, for the bounds of [`duration`].
pub(super) const HOUR: u64 = 3_600_000;
/// Ten years in milliseconds.
pub(super) const TEN_YEARS: u64 = 10 * 365 * 24 * HOUR;

/// Reads a string or a number, and parses its text.
pub(super) fn read<'de, D, T, E>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    let text = deserializer.deserialize_any(Scalar)?;
    parse(text.trim()).map_err(D::Error::custom)
}

struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or a whole number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    // Accepted so that the key's own error is reported instead of "invalid type".
    fn visit_bool<E: Error>(self, boolean: bool) -> Result<String, E> {
        Ok(boolean.to_string())
    }

    fn visit_f64<E: Error>(self, fraction: f64) -> Result<String, E> {
        Ok(format!("{fraction:?}"))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

/// Reads `true` or `false`.
pub(super) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    read(deserializer, |text| text.parse::<bool>().map_err(|_| "must be true or false"))
}

/// Reads an integer from MIN to MAX, inclusive.
pub(super) fn integer<'de, D, T, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
{
    read(deserializer, |text| {
        text.parse::<u64>()
            .ok()
            .filter(|number| (MIN..=MAX).contains(number))
            .and_then(|number| number.to_string().parse().ok())
            .ok_or_else(|| format!("must be a whole number from {MIN} to {MAX}"))
    })
}

/// Reads a duration in humantime's format, from MIN to MAX milliseconds,
/// inclusive.
pub(super) fn duration<'de, D, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    read(deserializer, |text| {
        let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
        humantime::parse_duration(text).ok().filter(|duration| (min..=max).contains(duration)).ok_or_else(
            || format!("must be a duration from {} to {}, such as 30s or 48h", brief(MIN), brief(MAX)),
        )
    })
}

/// Formats milliseconds in their largest whole unit.
fn brief(millis: u64) -> String {
    let units = [(24 * HOUR, "d"), (HOUR, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let fitting = units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    fitting.map_or_else(|| "0s".to_owned(), |(unit, name)| format!("{}{name}", millis / unit))
}

/// Reads a number of bytes from MIN to MAX, inclusive: plain, or in KiB, MiB or
/// GiB.
pub(super) fn bytes<'de, D, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<usize, D::Error>
where
    D: Deserializer<'de>,
{
    read(deserializer, |text| {
        parse_bytes(text)
            .filter(|bytes| (MIN..=MAX).contains(bytes))
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| format!("must be {MIN} to {MAX} bytes, such as 65536, 64KiB or 4MiB"))
    })
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Reads an IP address and a port. Host names are refused, because a name may
/// resolve differently between validation and start.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    read(deserializer, |text| {
        text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8081 or [::1]:8081")
    })
}

/// Reads a path. Relative paths start at the working directory.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    read(deserializer, parse_path)
}

/// Parses the path of a URL such as `sqlite:PATH`, which is taken as it is. Refuses `?`, after which
/// other programs expect parameters, so that such a URL never names another file.
pub(super) fn parse_url_path(text: &str) -> Result<PathBuf, &'static str> {
    if text.contains('?') {
        return Err("must not contain ?: the path is taken as it is, without parameters");
    }
    parse_path(text)
}

/// Parses a path, and removes repeated slashes: a file has one name. Refuses a leading `~`, which only a
/// shell expands.
pub(super) fn parse_path(text: &str) -> Result<PathBuf, &'static str> {
    if text == "~" || text.starts_with("~/") {
        return Err("must be a full path: ~ is not expanded");
    }
    if text.contains('\0') {
        return Err("must be a path without NUL characters");
    }
    Ok(Path::new(text).components().collect())
}

/// Reads a list of strings: an array, or one string with commas.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(List)
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Vec<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}
