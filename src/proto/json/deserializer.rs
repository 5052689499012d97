//! A deserializer around another one: null means absent, a duplicate field is an
//! error, and the path to the first fault is recorded. Valid input causes no
//! allocation.

use std::borrow::Cow;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::describe::cut;
use super::number;
use super::trace::{Step, Trace};

/// The field names of a message, in both spellings.
type Names = &'static [&'static str];

/// The expected value.
#[derive(Clone, Copy)]
enum Shape {
    /// A number or an enum.
    Number,
    Flag,
    Text,
    List,
    /// A message with these field names, or a map without names.
    Object(Option<Names>),
}

/// The deserializer.
pub(super) struct Proto3JsonDeserializer<'t, D> {
    inner: D,
    trace: &'t Trace,
    /// True if null means that the field is absent.
    nullable: bool,
}

impl<'t, D> Proto3JsonDeserializer<'t, D> {
    pub(super) fn new(inner: D, trace: &'t Trace) -> Self {
        Self { inner, trace, nullable: false }
    }

    fn read<'de, V: Visitor<'de>>(self, shape: Shape, visitor: V) -> Result<V::Value, D::Error>
    where
        D: Deserializer<'de>,
    {
        let visitor = Watched { visitor, trace: self.trace, shape };
        if self.nullable { self.inner.deserialize_option(NullOr(visitor)) } else { visitor.read(self.inner) }
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Proto3JsonDeserializer<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.read(Shape::Number, visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.read(Shape::Flag, visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.read(Shape::Text, visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.read(Shape::Text, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.read(Shape::List, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.read(Shape::Object(None), visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        names: Names,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.read(Shape::Object(Some(names)), visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Watched { visitor, trace: self.trace, shape: Shape::Number })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct enum identifier ignored_any
    }
}

/// A visitor whose nested values are read through [`Proto3JsonDeserializer`].
struct Watched<'t, V> {
    visitor: V,
    trace: &'t Trace,
    shape: Shape,
}

impl<'de, V: Visitor<'de>> Watched<'_, V> {
    /// Returns the decimal notation of a number in quotes that has a fraction or an
    /// exponent. Only JSON has them: a query takes decimal digits.
    fn quoted_number(&self, text: &str) -> Option<String> {
        if self.trace.json && matches!(self.shape, Shape::Number) { number::quoted(text) } else { None }
    }

    fn read<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        match self.shape {
            Shape::Number if self.trace.json => number::read(inner, self),
            Shape::Number => inner.deserialize_any(self),
            Shape::Flag => inner.deserialize_bool(self),
            Shape::Text => inner.deserialize_str(self),
            Shape::List => inner.deserialize_seq(self),
            Shape::Object(_) => inner.deserialize_map(self),
        }
    }
}

macro_rules! forward {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watched<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.visitor.expecting(formatter)
    }

    forward! { visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_string(String) }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        match self.quoted_number(text) {
            Some(number) => self.visitor.visit_string(number),
            None => self.visitor.visit_str(text),
        }
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<V::Value, E> {
        match self.quoted_number(text) {
            Some(number) => self.visitor.visit_string(number),
            None => self.visitor.visit_borrowed_str(text),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Proto3JsonDeserializer { inner, trace: self.trace, nullable: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Items { inner: items, trace: self.trace, index: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        let names = if let Shape::Object(names) = self.shape { names } else { None };
        self.visitor.visit_map(Members {
            inner: members,
            trace: self.trace,
            names,
            seen: 0,
            name: Name::Map(None),
        })
    }
}

/// Reads a value, or null as an absent one.
struct NullOr<'t, V>(Watched<'t, V>);

impl<'de, V: Visitor<'de>> Visitor<'de> for NullOr<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.visitor.expecting(formatter)
    }

    /// An absent field has the zero value of its type.
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        let Watched { visitor, shape, .. } = self.0;
        match shape {
            Shape::Number => visitor.visit_i64(0),
            Shape::Flag => visitor.visit_bool(false),
            Shape::Text => visitor.visit_str(""),
            Shape::List => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
            Shape::Object(_) => visitor.visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.read(inner)
    }
}

/// The items of a list.
struct Items<'t, A> {
    inner: A,
    trace: &'t Trace,
    index: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let index = self.index;
        self.index += 1;
        let seed = NestedSeed { seed, trace: self.trace, nullable: false };
        self.inner.next_element_seed(seed).inspect_err(|_| self.trace.push(Step::Item(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// The name of the current member.
enum Name {
    /// A field of a message, in proto spelling.
    Field(&'static str),
    /// A key of a map.
    Map(Option<String>),
}

/// The members of an object.
struct Members<'t, A> {
    inner: A,
    trace: &'t Trace,
    names: Option<Names>,
    /// A bit for each of the first 64 names: set if the name was read.
    seen: u64,
    name: Name,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let known =
            Key { seed, trace: self.trace, names: self.names, seen: &mut self.seen, name: &mut self.name };
        let Some(names) = self.names.filter(|_| self.trace.tolerant) else {
            return self.inner.next_key_seed(known);
        };
        while let Some(key) = self.inner.next_key::<Cow<'de, str>>()? {
            if names.contains(&&*key) {
                return known.visit_str(&key).map(Some);
            }
            self.inner.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let nested = NestedSeed { seed, trace: self.trace, nullable: self.names.is_some() };
        self.inner.next_value_seed(nested).inspect_err(|_| {
            let name = match &mut self.name {
                Name::Field(name) => (*name).to_owned(),
                Name::Map(key) => key.take().unwrap_or_default(),
            };
            self.trace.push(Step::Field(name));
        })
    }
}

/// The seed of a nested value.
struct NestedSeed<'t, T> {
    seed: T,
    trace: &'t Trace,
    nullable: bool,
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for NestedSeed<'_, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T::Value, D::Error> {
        self.seed.deserialize(Proto3JsonDeserializer { inner, trace: self.trace, nullable: self.nullable })
    }
}

/// The name of a member: a known field, not read before.
struct Key<'m, K> {
    seed: K,
    trace: &'m Trace,
    names: Option<Names>,
    seen: &'m mut u64,
    name: &'m mut Name,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<K::Value, D::Error> {
        inner.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<'_, K> {
    type Value = K::Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<K::Value, E> {
        let Some(names) = self.names else {
            *self.name = Name::Map(Some(cut(key).into_owned()));
            return self.seed.deserialize(key.into_deserializer());
        };
        let Some(index) = names.iter().position(|name| *name == key) else {
            return Err(self.trace.refuse(key, "is not a known field"));
        };
        // pbjson lists the proto spelling, followed by the JSON spelling if it is
        // different.
        let index =
            if key.bytes().any(|byte| byte.is_ascii_uppercase()) { index.saturating_sub(1) } else { index };
        let bit = u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).unwrap_or_default();
        if *self.seen & bit != 0 {
            return Err(self.trace.refuse(names[index], "is given twice"));
        }
        *self.seen |= bit;
        *self.name = Name::Field(names[index]);
        self.seed.deserialize(key.into_deserializer())
    }
}
