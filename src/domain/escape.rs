//! Escapes text from outside before it is shown.

use std::borrow::Cow;

/// Escapes the characters of a text that a reader does not see as they are: control characters, those
/// that change the direction of text, invisible ones, and blanks other than the space. Newlines are
/// escaped too, so that the text stays on its line. The form is `\u{202e}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_deceptive(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Returns true if a reader does not see the character as it is.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Soft hyphen, invisible joiners and fillers.
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180e}' | '\u{3164}'
            | '\u{ffa0}'
            // Blanks other than the space.
            | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{2800}' | '\u{3000}'
            // Marks, embeddings and isolates of bidirectional text.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Zero-width characters, line and paragraph separators, invisible operators.
            | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            // Musical format controls, language tags, and variation selectors beyond those of emoji.
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn only_deceptive_characters_are_escaped() {
        for same in ["", "плёнка №7", "a\\b 'c' \"d\"", "日本語", "👍🏽", "❤\u{fe0f}", "Ünïcödé"]
        {
            assert_eq!(escape(same), same);
        }
        for (given, shown) in [
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\u{0}"),
            ("pvz\u{202e}bd.exe", "pvz\\u{202e}bd.exe"),
            ("1\u{a0}\u{2003}\u{3000}", "1\\u{a0}\\u{2003}\\u{3000}"),
            ("1\u{200b}2\u{feff}", "1\\u{200b}2\\u{feff}"),
            ("\u{2066}\u{2069}\u{200f}\u{61c}", "\\u{2066}\\u{2069}\\u{200f}\\u{61c}"),
        ] {
            assert_eq!(escape(given), shown);
        }
    }
}
