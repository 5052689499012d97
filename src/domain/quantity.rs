//! Weight and money, as integers.

use std::fmt;

/// A weight in grams, 1 to 100,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grams(u32);

impl Grams {
    const MAX: u32 = 100_000;

    /// Checks the bounds.
    ///
    /// # Errors
    /// Returns a predicate of the field's name: "must be …".
    pub fn new(value: i64) -> Result<Self, &'static str> {
        match u32::try_from(value) {
            Ok(grams @ 1..=Self::MAX) => Ok(Self(grams)),
            _ => Err("must be 1 to 100000 grams"),
        }
    }

    /// Returns the number of grams.
    pub fn get(self) -> i64 {
        i64::from(self.0)
    }
}

impl fmt::Display for Grams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An amount in minor units (kopecks), never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Money(i64);

impl Money {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// The largest price of an order: 10^12 minor units.
    const MAX_PRICE: i64 = 1_000_000_000_000;

    /// Returns a price, 0 to 10^12 minor units.
    ///
    /// # Errors
    /// Returns a predicate of the field's name: "must be …".
    pub fn price(minor: i64) -> Result<Self, &'static str> {
        if (0..=Self::MAX_PRICE).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err("must be 0 to 1000000000000 minor units")
        }
    }

    /// Returns an amount from a catalogue or a store; `None` if it is negative or larger than a
    /// price may be.
    pub fn from_minor(minor: i64) -> Option<Self> {
        Self::price(minor).ok()
    }

    /// Returns the number of minor units.
    pub fn minor(self) -> i64 {
        self.0
    }
}

impl std::ops::Add for Money {
    type Output = Self;

    /// Saturates. Prices and surcharges are far below the limit.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |total, amount| total + amount)
    }
}

/// An ISO 4217 code: three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The Russian rouble, the default.
    pub const RUB: Self = Self(*b"RUB");

    /// Parses a code.
    ///
    /// # Errors
    /// Returns a predicate of the field's name: "must be …".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err("must be an ISO 4217 code: three capital letters"),
        }
    }

    /// Returns the code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}
