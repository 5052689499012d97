//! Error messages of serde, rewritten as the continuation of a sentence that
//! begins with the field.

use std::borrow::Cow;

/// The longest value that a description repeats, in characters.
const ECHO_LIMIT: usize = 64;

const WHOLE_NUMBER: &str = "must be a whole number within the range of its type";

/// Rewrites an error message of serde.
pub(super) fn describe(error: &str) -> String {
    let error = without_position(error);
    for prefix in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) =
            error.strip_prefix(prefix).and_then(|rest| split(rest, ", expected "))
        {
            return format!("must be {}, not {}", expectation(expected), cut(json_term(found)));
        }
    }
    if let Some((found, expected)) =
        error.strip_prefix("unknown variant `").and_then(|rest| split(rest, "`, expected "))
    {
        return format!("must be {}, not {}", expected.replace('`', ""), cut(found));
    }
    if is_number_fault(error) {
        return WHOLE_NUMBER.to_owned();
    }
    if error.starts_with("must ") { error.to_owned() } else { format!("is not valid: {}", cut(error)) }
}

/// Removes the position at the end of an error of serde_json.
fn without_position(error: &str) -> &str {
    match error.rsplit_once(" at line ") {
        Some((sentence, position))
            if position.bytes().all(|byte| byte.is_ascii_digit() || b" column".contains(&byte)) =>
        {
            sentence
        }
        _ => error,
    }
}

/// Splits at the last separator, because the value in front may contain it.
fn split<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    text.rsplit_once(separator)
}

fn expectation(expected: &str) -> Cow<'_, str> {
    if expected.starts_with("struct ") || expected == "a map" {
        return Cow::Borrowed("an object");
    }
    if expected == "a sequence" {
        return Cow::Borrowed("a list");
    }
    // pbjson lists the values of an enum as a Rust slice.
    match expected.strip_prefix("expected one of: &[").and_then(|rest| rest.strip_suffix(']')) {
        Some(names) => Cow::Owned(format!("one of {}", names.replace('"', ""))),
        None => Cow::Borrowed(expected),
    }
}

/// Returns the JSON term for what serde found.
fn json_term(found: &str) -> &str {
    match found {
        "sequence" => "a list",
        "map" => "an object",
        other => other,
    }
}

fn is_number_fault(error: &str) -> bool {
    error.starts_with("data did not match any variant of untagged enum")
        || error.starts_with("invalid digit found in string")
        || error.starts_with("cannot parse integer from empty string")
        || error.starts_with("number out of range")
        || error.ends_with("to fit in target type")
}

pub(super) fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(ECHO_LIMIT) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
