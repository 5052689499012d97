//! Failures as text for people. Each thing is said once, and instants are local, as in the
//! tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::flags::Flags;
use crate::cli::escape::plain;
use crate::cli::failure::Failure;
use crate::cli::output::instant;
use crate::proto::Timestamp;
use crate::proto::v1::{OrderResult, Refusal, order_result};

/// Metadata that the violations or the sentence express in other words.
const EXPRESSED: [&str; 3] = ["field", "violations_total", "identical"];

/// Returns the text for standard error, with colours.
pub(super) fn render(failure: &Failure, flags: &Flags) -> String {
    let refusal = &failure.refusal;
    let mut text = format!("\u{1b}[1;31merror:\u{1b}[0m {}\n", plain(&headline(refusal, flags)));
    details(&mut text, "  ", refusal, flags, &failure.advice);
    if let Some(batch) = &failure.batch {
        for result in &batch.results {
            refused_order(&mut text, result, refusal, flags);
        }
        let shown = i32::try_from(batch.results.len()).unwrap_or(i32::MAX);
        if batch.refused_total > shown {
            let _ = writeln!(text, "  and {} more refused orders", batch.refused_total - shown);
        }
    }
    for advice in &failure.advice {
        let _ = writeln!(text, "{}", plain(advice));
    }
    text
}

/// Writes a refused order of a batch, unless the headline is about it.
fn refused_order(text: &mut String, result: &OrderResult, shown: &Refusal, flags: &Flags) {
    let Some(order_result::Outcome::Refusal(refusal)) = &result.outcome else { return };
    if (&refusal.reason, &refusal.message) == (&shown.reason, &shown.message) {
        return;
    }
    let headline = headline(refusal, flags);
    let order = if mentions(&headline, &result.order_id) {
        String::new()
    } else {
        format!("order {}: ", result.order_id)
    };
    let _ = writeln!(text, "  {}{}", plain(&order), plain(&headline));
    details(text, "    ", refusal, flags, &[]);
}

/// Returns `REASON: sentence`.
fn headline(refusal: &Refusal, flags: &Flags) -> String {
    let sentence = local(&sentence(refusal, flags), &refusal.metadata);
    if refusal.reason.is_empty() { sentence } else { format!("{}: {sentence}", refusal.reason) }
}

/// Returns the message in the words of the command line. The only violation takes the place
/// of a message that repeats it.
pub(super) fn sentence(refusal: &Refusal, flags: &Flags) -> String {
    match refusal.field_violations.as_slice() {
        [] => flags.speak(&refusal.message),
        [only] if total(refusal) == 1 => {
            format!("{} {}", flags.name(&only.field), flags.speak(&only.description))
        }
        _ => format!("{} values are not valid", total(refusal)),
    }
}

/// Returns the number of violations. The server may list only the first ones.
fn total(refusal: &Refusal) -> usize {
    let listed = refusal.field_violations.len();
    let total = refusal.metadata.get("violations_total").and_then(|total| total.parse().ok());
    total.unwrap_or(listed).max(listed)
}

/// Writes the violations, and the metadata that the text does not mention yet, one per line.
fn details(text: &mut String, indent: &str, refusal: &Refusal, flags: &Flags, advice: &[String]) {
    if total(refusal) > 1 {
        for violation in &refusal.field_violations {
            let description = local(&flags.speak(&violation.description), &refusal.metadata);
            let _ =
                writeln!(text, "{indent}- {} {}", plain(&flags.name(&violation.field)), plain(&description));
        }
        let more = total(refusal) - refusal.field_violations.len();
        if more > 0 {
            let _ = writeln!(text, "{indent}and {more} more");
        }
    }
    let violations = refusal.field_violations.iter().map(|violation| &violation.description);
    let said: Vec<&String> = std::iter::once(&refusal.message).chain(violations).chain(advice).collect();
    for (key, value) in &refusal.metadata {
        if EXPRESSED.contains(&key.as_str()) || said.iter().any(|text| mentions(text, value)) {
            continue;
        }
        let value = Timestamp::parse_rfc3339(value).map_or_else(|_| value.clone(), |at| instant(Some(&at)));
        let _ = writeln!(text, "{indent}{}: {}", plain(&flags.name(key)), plain(&value));
    }
}

/// Replaces the instants of the metadata, which are in UTC, by local ones.
fn local(sentence: &str, metadata: &BTreeMap<String, String>) -> String {
    metadata.values().fold(sentence.to_owned(), |text, value| match Timestamp::parse_rfc3339(value) {
        Ok(at) => text.replace(value, &instant(Some(&at))),
        Err(_) => text,
    })
}

/// Returns true if a text has a value as a word of its own: `order 13` does not mention 3.
fn mentions(text: &str, value: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || "_-.".contains(character);
    !value.is_empty()
        && text.match_indices(value).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + value.len()..].chars().next();
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mentioned_value_is_a_word() {
        assert!(mentions("order 3 does not exist", "3"));
        assert!(mentions("\"crate\" is not in the catalogue (bag, box)", "bag, box"));
        for text in ["order 13", "order 3.1", "order a-3", "order x3", "", "3_"] {
            assert!(!mentions(text, "3"), "{text}");
        }
        assert!(!mentions("a", ""));
    }
}
