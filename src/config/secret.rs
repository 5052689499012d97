use std::fmt;

use super::text;

/// What stands for a secret wherever it would be shown.
pub(super) const HIDDEN: &str = "***";

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for whoever has to prove that we know it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

/// Whether the values of that key are secrets.
pub(super) fn is_secret(path: &str) -> bool {
    path.ends_with("password")
}

pub(super) fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    text::read(deserializer, |text| {
        if text.is_empty() { Err("must not be empty") } else { Ok(Secret(text.to_owned())) }
    })
}
