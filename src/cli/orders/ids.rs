//! Order ids: as arguments, as an option, or from standard input.

use std::io::{self, BufRead};

use crate::cli::failure::Failure;

/// The argument that stands for standard input.
pub(super) const STDIN: &str = "-";

/// Returns the only id, given as an argument or as `--order-id`.
pub(super) fn one(argument: Option<String>, option: Option<String>) -> Result<String, Failure> {
    match (argument, option) {
        (Some(_), Some(_)) => {
            Err(Failure::usage("the order id was given twice, as an argument and as --order-id"))
        }
        (argument, option) => {
            argument.or(option).ok_or_else(|| Failure::usage("no order id given; name it as an argument"))
        }
    }
}

/// Returns the failure of ids that were given as arguments and as an option.
pub(super) fn given_twice(option: &str) -> Failure {
    Failure::usage(format!("order ids were given twice, as arguments and as {option}"))
}

/// Returns the ids of the arguments, each of which may name several, or of standard input if the only
/// argument is `-`.
pub(super) fn of_arguments(arguments: &[String]) -> Result<Vec<String>, Failure> {
    if arguments == [STDIN] {
        return of_lines(io::stdin().lock());
    }
    if arguments.iter().any(|argument| argument == STDIN) {
        return Err(Failure::usage(
            "- reads the order ids from standard input and must be the only argument",
        ));
    }
    let is_separator = |character: char| character == ',' || character.is_whitespace();
    let ids = arguments.iter().flat_map(|argument| argument.split(is_separator));
    let ids: Vec<_> = ids.filter(|id| !id.is_empty()).map(str::to_owned).collect();
    if ids.is_empty() {
        return Err(Failure::usage(
            "no order ids given; name them as arguments, or give - to read them from standard input",
        ));
    }
    Ok(ids)
}

/// Reads ids, one per line or separated by commas. A line with spaces is refused: a table has other
/// numbers next to the ids.
fn of_lines(input: impl BufRead) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for (index, line) in input.lines().enumerate() {
        let line = line.map_err(|error| {
            Failure::usage(format!("cannot read the order ids from standard input: {error}"))
        })?;
        for id in line.trim_start_matches('\u{feff}').split(',').map(str::trim).filter(|id| !id.is_empty()) {
            if id.contains(char::is_whitespace) {
                return Err(Failure::usage(format!(
                    "line {} of standard input must be an order id, as 'pvz list --quiet' prints it, not {id:?}",
                    index + 1
                )));
            }
            ids.push(id.to_owned());
        }
    }
    if ids.is_empty() {
        return Err(Failure::usage("standard input has no order ids, so there is nothing to do"));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(texts: &[&str]) -> Result<Vec<String>, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        of_arguments(&texts).map_err(|failure| failure.refusal.message)
    }

    fn lines(input: &[u8]) -> Result<Vec<String>, String> {
        of_lines(input).map_err(|failure| failure.refusal.message)
    }

    #[test]
    fn arguments_are_separated_by_spaces_or_commas() {
        for texts in [&["1", "2", "3"][..], &["1,2,3"], &["1,", "2,", "3"], &["1 2\n3"], &["1, 2", "3"]] {
            assert_eq!(arguments(texts).unwrap(), ["1", "2", "3"], "{texts:?}");
        }
        for texts in [&[][..], &[""], &[","], &["1", "-"]] {
            assert!(arguments(texts).is_err(), "{texts:?}");
        }
    }

    #[test]
    fn lines_are_ids() {
        for input in ["1\n2\n3\n", "1\r\n2\r\n\r\n3", "\u{feff}1,2\n 3 \n", "1, 2, 3"] {
            assert_eq!(lines(input.as_bytes()).unwrap(), ["1", "2", "3"], "{input:?}");
        }
        assert_eq!(lines(b"").unwrap_err(), "standard input has no order ids, so there is nothing to do");
        assert!(lines(b"1\n\xff\n").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_table_is_not_taken_for_ids() {
        let error = lines(b"ORDER  CUSTOMER\n1      123\n").unwrap_err();
        assert!(error.starts_with("line 1 of standard input must be an order id"), "{error}");
    }
}
