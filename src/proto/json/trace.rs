//! The path to the first fault of a message, and its description.

use std::cell::RefCell;

use serde::de::Error;

use super::JsonFault;
use super::describe::{cut, describe};

/// A step of the path to a fault.
pub(super) enum Step {
    Field(String),
    Item(usize),
}

/// The first fault, if there is one.
#[derive(Default)]
pub(super) struct Trace {
    /// The path to the fault, innermost step first.
    steps: RefCell<Vec<Step>>,
    /// The description, unless it comes from serde.
    sentence: RefCell<Option<&'static str>>,
    /// True if unknown fields are ignored, because a later release may have written
    /// them.
    pub(super) tolerant: bool,
    /// True if the input is JSON, in which numbers have a textual form.
    pub(super) json: bool,
}

impl Trace {
    /// Returns a trace of JSON. Unknown fields are not faults if `tolerant` is set.
    pub(super) fn of_json(tolerant: bool) -> Self {
        Self { tolerant, json: true, ..Self::default() }
    }

    /// Returns the fault for an error of the deserializer.
    pub(super) fn fault(&self, error: &str) -> JsonFault {
        let mut field = String::new();
        for step in self.steps.borrow().iter().rev() {
            match step {
                Step::Field(name) if field.is_empty() => field.push_str(name),
                Step::Field(name) => {
                    field.push('.');
                    field.push_str(name);
                }
                Step::Item(index) => {
                    field.push('[');
                    field.push_str(&index.to_string());
                    field.push(']');
                }
            }
        }
        let description = self.sentence.borrow().map_or_else(|| describe(error), str::to_owned);
        JsonFault { field, description, position: None }
    }

    /// Adds a step in front of the present path.
    pub(super) fn push(&self, step: Step) {
        self.steps.borrow_mut().push(step);
    }

    /// Returns the error for a field, described by `sentence`.
    pub(super) fn refuse<E: Error>(&self, field: &str, sentence: &'static str) -> E {
        self.push(Step::Field(cut(field).into_owned()));
        *self.sentence.borrow_mut() = Some(sentence);
        E::custom(sentence)
    }
}
