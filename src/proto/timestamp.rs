//! `google.protobuf.Timestamp` with the JSON form of the contract.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

/// An instant: seconds and nanoseconds since 1970-01-01T00:00:00Z. The JSON form
/// is RFC 3339, written with `Z` and 0, 3, 6 or 9 decimals (the type of pbjson
/// writes `+00:00`), and read with any offset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Timestamp {
    /// Seconds since the epoch.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds within the second, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, the range of the type.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

impl Timestamp {
    /// Returns true if the value is in the range of the type.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        SECONDS.contains(&self.seconds) && (0..1_000_000_000).contains(&self.nanos)
    }

    /// Parses RFC 3339. An offset is required. Leap seconds, which the type does not
    /// have, are refused.
    ///
    /// # Errors
    /// The expectation that the text does not meet.
    pub fn parse_rfc3339(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "must be an RFC 3339 instant with an offset, such as 2026-12-31T10:00:00Z";
        // chrono takes U+2212 for a minus.
        if !text.is_ascii() {
            return Err(EXPECTED);
        }
        let instant = DateTime::parse_from_rfc3339(text).map_err(|_| EXPECTED)?;
        // chrono represents second 60 as second 59 with more than 999,999,999 ns.
        let nanos = instant.timestamp_subsec_nanos();
        if nanos >= 1_000_000_000 {
            return Err("must have a second from 00 to 59: leap seconds are not accepted");
        }
        let nanos = i32::try_from(nanos).map_err(|_| EXPECTED)?;
        let value = Self { seconds: instant.timestamp(), nanos };
        if value.is_valid() { Ok(value) } else { Err("must be between the years 1 and 9999") }
    }

    /// Converts to chrono; `None` if the value is out of range.
    #[must_use]
    pub fn to_chrono(&self) -> Option<DateTime<Utc>> {
        if !self.is_valid() {
            return None;
        }
        DateTime::from_timestamp(self.seconds, u32::try_from(self.nanos).ok()?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let instant = self.to_chrono().ok_or_else(|| S::Error::custom("the instant is out of range"))?;
        serializer.collect_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;
        impl Visitor<'_> for Rfc3339 {
            type Value = Timestamp;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an RFC 3339 instant with an offset, such as \"2026-12-31T10:00:00Z\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse_rfc3339(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Rfc3339).map_err(D::Error::custom)
    }
}
