//! Statements as SQL text with binds. The driver keeps each prepared for as
//! long as the connection lives, and finds it by its text.

use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Text};

/// A statement whose rows have the type `T`; `()` for none.
#[derive(Debug, Clone)]
pub(super) struct Sql<T> {
    parts: Vec<Part>,
    rows: PhantomData<fn() -> T>,
}

#[derive(Debug, Clone)]
enum Part {
    Sql(&'static str),
    Text(String),
    Integer(i64),
    Texts(Vec<String>),
    Integers(Vec<i64>),
}

impl<T> Sql<T> {
    pub(super) fn new(text: &'static str) -> Self {
        Self { parts: vec![Part::Sql(text)], rows: PhantomData }
    }

    /// Adds a piece of the text.
    pub(super) fn sql(mut self, text: &'static str) -> Self {
        self.parts.push(Part::Sql(text));
        self
    }

    /// Adds a placeholder that is bound to a text.
    pub(super) fn text(mut self, value: impl Into<String>) -> Self {
        self.parts.push(Part::Text(value.into()));
        self
    }

    /// Adds a placeholder that is bound to an integer.
    pub(super) fn integer(mut self, value: i64) -> Self {
        self.parts.push(Part::Integer(value));
        self
    }

    /// Adds a placeholder that is bound to an array of texts.
    pub(super) fn texts(mut self, values: Vec<String>) -> Self {
        self.parts.push(Part::Texts(values));
        self
    }

    /// Adds a placeholder that is bound to an array of integers.
    pub(super) fn integers(mut self, values: Vec<i64>) -> Self {
        self.parts.push(Part::Integers(values));
        self
    }

    /// Adds a placeholder that is bound to a number of rows.
    pub(super) fn limit(self, rows: usize) -> Self {
        self.integer(i64::try_from(rows).unwrap_or(i64::MAX))
    }
}

impl<T> QueryFragment<Pg> for Sql<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for part in &self.parts {
            match part {
                Part::Sql(text) => out.push_sql(text),
                Part::Text(value) => out.push_bind_param::<Text, _>(value)?,
                Part::Integer(value) => out.push_bind_param::<BigInt, _>(value)?,
                Part::Texts(values) => out.push_bind_param::<Array<Text>, _>(values)?,
                Part::Integers(values) => out.push_bind_param::<Array<BigInt>, _>(values)?,
            }
        }
        Ok(())
    }
}

impl<T> QueryId for Sql<T> {
    type QueryId = ();
    /// The text differs from value to value: it is the key of the cache.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T> Query for Sql<T> {
    type SqlType = T;
}
