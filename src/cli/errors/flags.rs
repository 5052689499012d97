//! The names of request fields on the command line.

use argh::CommandInfoWithArgs;

use crate::cli::client::ACTOR_HEADER;

/// The fields whose flag has another name than the field. `tests/it/cli_errors.rs` checks
/// that every field of every request has a flag or an argument.
const RENAMED: [(&str, &str); 5] = [
    ("weight_grams", "--weight"),
    ("price_minor", "--price"),
    ("pickup_point_id", "--pickup-point"),
    ("mode", "--partial"),
    (ACTOR_HEADER, "--actor"),
];

/// The flags and arguments of a command.
#[derive(Debug, Default)]
pub(super) struct Flags {
    options: Vec<&'static str>,
    arguments: Vec<&'static str>,
}

impl Flags {
    pub(super) fn of(info: &CommandInfoWithArgs) -> Self {
        Self {
            options: info.flags.iter().map(|flag| flag.long).collect(),
            arguments: info.positionals.iter().map(|positional| positional.name).collect(),
        }
    }

    /// Returns the flag or argument that a field comes from: `--weight`, `<order-id>`.
    pub(super) fn of_field(&self, field: &str) -> Option<String> {
        let renamed = RENAMED.iter().find(|(name, _)| *name == field);
        let option = match renamed {
            Some((_, option)) => (*option).to_owned(),
            None => format!("--{}", field.replace('_', "-")),
        };
        if self.options.contains(&option.as_str()) {
            return Some(option);
        }
        let argument = option.trim_start_matches('-');
        self.arguments.contains(&argument).then(|| format!("<{argument}>"))
    }

    /// Returns the name of a field for people: its flag, or `value 3 of --order-ids` for
    /// `order_ids[2]`. A field without a flag keeps its name.
    pub(super) fn name(&self, field: &str) -> String {
        let item = field.strip_suffix(']').and_then(|field| field.split_once('['));
        let item = item.and_then(|(list, index)| Some((list, index.parse::<usize>().ok()?)));
        match item {
            Some((list, index)) => match self.of_field(list) {
                Some(flag) => format!("value {} of {flag}", index.saturating_add(1)),
                None => field.to_owned(),
            },
            None => self.of_field(field).unwrap_or_else(|| field.to_owned()),
        }
    }

    /// Replaces the names of fields in a sentence by their flags. Only names with an
    /// underscore are recognised: the others are words of the language too.
    pub(super) fn speak(&self, sentence: &str) -> String {
        let mut text = String::with_capacity(sentence.len());
        let is_part = |character: char| character.is_alphanumeric() || character == '_';
        let mut rest = sentence;
        while !rest.is_empty() {
            let length = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(length);
            match self.of_field(word).filter(|_| word.contains('_')) {
                Some(flag) => text.push_str(&flag),
                None => text.push_str(word),
            }
            let length = after.find(is_part).unwrap_or(after.len());
            text.push_str(&after[..length]);
            rest = &after[length..];
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_flags_or_arguments() {
        let flags = Flags {
            options: vec!["--order-ids", "--weight", "--page-size", "--last-n", "--after"],
            arguments: vec!["order-id"],
        };
        for (field, name) in [
            ("weight_grams", "--weight"),
            ("order_id", "<order-id>"),
            ("order_ids[2]", "value 3 of --order-ids"),
            ("order_ids[x]", "order_ids[x]"),
            ("pickup_point_id", "pickup_point_id"),
            ("header", "header"),
        ] {
            assert_eq!(flags.name(field), name);
        }
        assert_eq!(
            flags.speak("last_n cannot be combined with page_size; after the order_x"),
            "--last-n cannot be combined with --page-size; after the order_x"
        );
        assert_eq!(flags.speak("заказ_1: weight_grams"), "заказ_1: --weight");
    }
}
