//! Escapes text for a terminal.

use std::borrow::Cow;

/// Escapes the control characters of a text from another source, so that it
/// cannot control the terminal.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |character: char| {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    };
    Cow::Owned(text.chars().map(escape).collect())
}
