//! Query parameters and path variables as a serde deserializer for messages.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use percent_encoding::percent_decode_str;
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::domain::{Reason, Refusal, echo};

/// The most parameters of a query, far above what a filter of the contract needs.
const MAX_PARAMETERS: usize = 200;

/// Names with their values, in the order of first occurrence.
#[derive(Debug, Clone, Default)]
pub struct Parameters<'q> {
    entries: Vec<(Cow<'q, str>, Values<'q>)>,
}

/// The values of one name.
#[derive(Debug, Clone)]
struct Values<'q>(Vec<Cow<'q, str>>);

impl<'q> Parameters<'q> {
    /// Parses the query of a URI.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` if it is not percent-encoded UTF-8, or has more than
    /// [`MAX_PARAMETERS`].
    pub fn parse(query: &'q str) -> Result<Self, Refusal> {
        let mut parameters = Self::default();
        let mut known: HashMap<Cow<'q, str>, usize> = HashMap::new();
        let pairs = || query.split('&').filter(|pair| !pair.is_empty());
        if pairs().nth(MAX_PARAMETERS).is_some() {
            return Err(too_many());
        }
        for pair in pairs() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| undecodable(name))?;
            let value = decode(value).ok_or_else(|| undecodable(&name))?;
            match known.entry(name.clone()) {
                Entry::Occupied(index) => parameters.entries[*index.get()].1.0.push(value),
                Entry::Vacant(vacant) => {
                    vacant.insert(parameters.entries.len());
                    parameters.entries.push((name, Values(vec![value])));
                }
            }
        }
        Ok(parameters)
    }

    /// Adds the value of a path variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.entries.insert(0, (Cow::Owned(name.to_owned()), Values(vec![Cow::Owned(value.to_owned())])));
    }

    /// Returns each name by itself, with its values.
    pub fn into_each(self) -> impl Iterator<Item = Self> {
        self.entries.into_iter().map(|entry| Self { entries: vec![entry] })
    }

    /// Returns the first name.
    pub fn first_name(&self) -> Option<&str> {
        self.entries.first().map(|(name, _)| name.as_ref())
    }
}

fn too_many() -> Refusal {
    let sentence = format!("the query has more than {MAX_PARAMETERS} parameters, which is the limit");
    Refusal::new(Reason::ValidationFailed, sentence).with("limit", MAX_PARAMETERS)
}

fn undecodable(name: &str) -> Refusal {
    Refusal::invalid(echo(name), "is not percent-encoded UTF-8")
}

/// Decodes a percent-encoded text, in which `+` is a space. Returns `None` if a
/// `%` is not followed by two hexadecimal digits, or the text is not UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    let stray = bytes.iter().enumerate().any(|(index, byte)| {
        *byte == b'%'
            && !bytes.get(index + 1..index + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if stray {
        return None;
    }
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()))
}

impl<'de> Deserializer<'de> for Parameters<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::new(self.entries.into_iter()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Values<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Values<'_> {
    fn single(&mut self) -> Result<Cow<'_, str>, Error> {
        if self.0.len() > 1 {
            return Err(Error::custom("must be given once"));
        }
        Ok(self.0.pop().unwrap_or_default())
    }
}

impl<'de> Deserializer<'de> for Values<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.single()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        match self.single()?.as_ref() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Error::custom("must be true or false")),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let values = self.0.into_iter().map(|value| Values(vec![value]));
        visitor.visit_seq(SeqDeserializer::new(values))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}
