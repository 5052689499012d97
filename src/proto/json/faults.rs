//! The faults of all members of an object. The generated types stop at the first
//! fault, so after one, each member is parsed as a message of its own.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{JsonFault, parse_first, unreadable};

/// The most faults that are reported.
const MAX_FAULTS: usize = 100;
/// The most members, and items of faulty lists, that are parsed again.
const MAX_PARTS: usize = 1_000;

/// Returns the faults of the parts of a message, and the first fault of the whole
/// unless a part has it.
pub fn all_faults(first: JsonFault, parts: impl Iterator<Item = JsonFault>) -> Vec<JsonFault> {
    let mut faults: Vec<JsonFault> = parts.take(MAX_FAULTS).collect();
    if !faults.contains(&first) {
        faults.insert(0, first);
        faults.truncate(MAX_FAULTS);
    }
    faults
}

/// Returns all faults of a text whose first fault is known.
pub(super) fn of_members<T: DeserializeOwned>(text: &[u8], first: JsonFault) -> Vec<JsonFault> {
    match serde_json::from_slice::<Members<'_>>(text) {
        // The generated types stopped before the place where the text is broken.
        Err(error) if error.classify() != Category::Data => vec![unreadable(&error)],
        Err(_) => vec![first],
        Ok(Members(members)) => {
            let parse = |text: &str| parse_first::<T>(text.as_bytes()).err();
            let parts = members.into_iter().flat_map(|(name, value)| of_member(parse, name, value));
            all_faults(first, parts.take(MAX_PARTS).flatten())
        }
    }
}

/// Returns the fault of a member, if there is one. A list with faulty items has
/// the result of each item.
fn of_member<'t>(
    parse: fn(&str) -> Option<JsonFault>,
    name: Cow<'t, str>,
    value: &'t RawValue,
) -> Box<dyn Iterator<Item = Option<JsonFault>> + 't> {
    let name = Value::from(name).to_string();
    let fault_of = move |value: &str| {
        // A fault with a position is of the text as a whole.
        parse(&format!("{{{name}:{value}}}")).filter(|fault| fault.position.is_none())
    };
    let fault = fault_of(value.get());
    let list = fault.as_ref().and_then(|fault| fault.field.strip_suffix(']')?.rsplit_once('['));
    let Some((list, _)) = list else { return Box::new(std::iter::once(fault)) };
    let list = list.to_owned();
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
    Box::new(items.into_iter().enumerate().map(move |(index, item)| {
        let fault = fault_of(&format!("[{}]", item.get()))?;
        Some(JsonFault { field: format!("{list}[{index}]"), ..fault })
    }))
}

/// The members of an object, in order, with the texts of their values.
struct Members<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
