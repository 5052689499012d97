//! Splits the lines of one CSV record into fields.
//!
//! By hand, because csv-core accepts every text by design: it reads `"a"b` as
//! `ab`. Here that is a fault, because it shows where a quote is missing.

/// The state of a record after a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// The line ends the record.
    Complete(Vec<String>),
    /// A quoted field continues on the next line.
    Open,
    /// Text follows a closing quote, at this character of the line, from 1.
    TextAfterQuote(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a field.
    Begin,
    /// In a field without quotes. A quote in it is an ordinary character.
    Plain,
    Quoted,
    /// After a quote in a quoted field: the end of the field, or half of `""`.
    AfterQuote,
}

/// Splits one record, line by line.
#[derive(Debug)]
pub(super) struct Splitter {
    delimiter: char,
    state: State,
    fields: Vec<String>,
    field: String,
    /// Line and character of the last opening quote, from 1.
    opened: (u64, usize),
}

impl Splitter {
    pub(super) fn new(delimiter: char) -> Self {
        let (fields, field) = (Vec::new(), String::new());
        Self { delimiter, state: State::Begin, fields, field, opened: (0, 0) }
    }

    /// Adds a line, given without its line ending.
    pub(super) fn push(&mut self, number: u64, line: &str) -> Split {
        if self.state == State::Quoted {
            self.field.push('\n');
        }
        for (index, character) in line.chars().enumerate() {
            self.state = match (self.state, character) {
                (State::Quoted, '"') => State::AfterQuote,
                (State::Quoted, _) => {
                    self.field.push(character);
                    State::Quoted
                }
                (State::AfterQuote, '"') => {
                    self.field.push('"');
                    State::Quoted
                }
                (State::Begin, '"') => {
                    self.opened = (number, index + 1);
                    State::Quoted
                }
                (_, delimiter) if delimiter == self.delimiter => {
                    self.fields.push(std::mem::take(&mut self.field));
                    State::Begin
                }
                (State::AfterQuote, _) => return Split::TextAfterQuote(index + 1),
                (State::Begin | State::Plain, _) => {
                    self.field.push(character);
                    State::Plain
                }
            };
        }
        if self.state == State::Quoted {
            return Split::Open;
        }
        self.fields.push(std::mem::take(&mut self.field));
        Split::Complete(std::mem::take(&mut self.fields))
    }

    /// Returns the index of the field that is being read.
    pub(super) fn index(&self) -> usize {
        self.fields.len()
    }

    /// Returns line and character of the last opening quote, from 1.
    pub(super) fn opened(&self) -> (u64, usize) {
        self.opened
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(delimiter: char, line: &str) -> Split {
        Splitter::new(delimiter).push(1, line)
    }

    fn fields(texts: &[&str]) -> Split {
        Split::Complete(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(split(',', "a,,b"), fields(&["a", "", "b"]));
        assert_eq!(split(';', "a,1;\"b;\"\"c\"\"\";"), fields(&["a,1", "b;\"c\"", ""]));
        assert_eq!(split('\t', "\"\"\t5\" box"), fields(&["", "5\" box"]));
        assert_eq!(split(',', ""), fields(&[""]));
        let mut splitter = Splitter::new(',');
        assert_eq!(splitter.push(1, "x,\"a"), Split::Open);
        assert_eq!((splitter.index(), splitter.opened()), (1, (1, 3)));
        assert_eq!(splitter.push(2, ""), Split::Open);
        assert_eq!(splitter.push(3, "b\",c"), fields(&["x", "a\n\nb", "c"]));
    }

    #[test]
    fn text_after_a_closing_quote_is_a_fault() {
        assert_eq!(split(',', "\"a\"b,c"), Split::TextAfterQuote(4));
        assert_eq!(split(',', "ы,\"ы\" ,c"), Split::TextAfterQuote(6));
        assert_eq!(split(',', "\"a\"\"b\"\"\"c"), Split::TextAfterQuote(9));
    }

    proptest! {
        #[test]
        fn quoted_fields_round_trip(texts in prop::collection::vec("[a-zы\",; \n]{0,20}", 1..5)) {
            let quote = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
            let record = texts.iter().map(quote).collect::<Vec<_>>().join(";");
            let mut splitter = Splitter::new(';');
            let last = record.split('\n').map(|line| splitter.push(1, line)).last();
            prop_assert_eq!(last, Some(Split::Complete(texts)));
        }
    }
}
