use std::fmt;

use super::text;

/// Placeholder for a secret in output.
pub(super) const HIDDEN: &str = "***";

/// A secret text. Its `Debug` output is a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the secret itself, for authentication.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

/// Returns true if the values of the key are secrets.
pub(super) fn is_secret(path: &str) -> bool {
    path.ends_with("password")
}

pub(super) fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    text::read(deserializer, |text| {
        if text.is_empty() { Err("must not be empty") } else { Ok(Secret(text.to_owned())) }
    })
}
