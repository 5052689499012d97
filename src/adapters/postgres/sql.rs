//! Statements as SQL text with binds. The driver keeps each statement prepared as
//! long as the connection is open, and finds it by its text.

use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Text};

/// A statement whose rows have the SQL type `T`; `()` if it returns no rows.
#[derive(Debug, Clone)]
pub(super) struct Sql<T> {
    parts: Vec<Fragment>,
    rows: PhantomData<fn() -> T>,
}

#[derive(Debug, Clone)]
enum Fragment {
    Sql(&'static str),
    Text(String),
    Integer(i64),
    Texts(Vec<String>),
    Integers(Vec<i64>),
}

impl<T> Sql<T> {
    /// Begins a statement.
    pub(super) fn new(text: &'static str) -> Self {
        Self { parts: vec![Fragment::Sql(text)], rows: PhantomData }
    }

    /// Adds SQL.
    pub(super) fn sql(mut self, text: &'static str) -> Self {
        self.parts.push(Fragment::Sql(text));
        self
    }

    /// Adds another statement.
    pub(super) fn then(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Binds a string.
    pub(super) fn text(mut self, value: impl Into<String>) -> Self {
        self.parts.push(Fragment::Text(value.into()));
        self
    }

    /// Binds an integer.
    pub(super) fn integer(mut self, value: i64) -> Self {
        self.parts.push(Fragment::Integer(value));
        self
    }

    /// Binds an array of strings.
    pub(super) fn texts(mut self, values: Vec<String>) -> Self {
        self.parts.push(Fragment::Texts(values));
        self
    }

    /// Binds an array of integers.
    pub(super) fn integers(mut self, values: Vec<i64>) -> Self {
        self.parts.push(Fragment::Integers(values));
        self
    }

    /// Binds a number of rows.
    pub(super) fn limit(self, rows: usize) -> Self {
        self.integer(i64::try_from(rows).unwrap_or(i64::MAX))
    }
}

impl<T> QueryFragment<Pg> for Sql<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for part in &self.parts {
            match part {
                Fragment::Sql(text) => out.push_sql(text),
                Fragment::Text(value) => out.push_bind_param::<Text, _>(value)?,
                Fragment::Integer(value) => out.push_bind_param::<BigInt, _>(value)?,
                Fragment::Texts(values) => out.push_bind_param::<Array<Text>, _>(values)?,
                Fragment::Integers(values) => out.push_bind_param::<Array<BigInt>, _>(values)?,
            }
        }
        Ok(())
    }
}

impl<T> QueryId for Sql<T> {
    type QueryId = ();
    /// The text is not constant for the type, so the text is the cache key.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T> Query for Sql<T> {
    type SqlType = T;
}
