//! Statements as SQL text with binds. The driver keeps each one prepared while
//! the connection lives, and finds it by its text, or by its type where the text
//! is long.

use std::marker::PhantomData;

use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::RunQueryDsl;
use diesel::sql_types::{BigInt, Binary, Text};
use diesel::sqlite::Sqlite;
use diesel::{QueryResult, SqliteConnection};

/// A statement that returns rows of the SQL type `T`; `()` for none.
#[derive(Debug, Clone)]
pub(super) struct Sql<T> {
    parts: Vec<Fragment>,
    rows: PhantomData<T>,
}

#[derive(Debug, Clone)]
enum Fragment {
    Sql(&'static str),
    Text(String),
    Integer(i64),
    Bytes(Vec<u8>),
}

impl<T> Sql<T> {
    pub(super) fn new(text: &'static str) -> Self {
        Self { parts: vec![Fragment::Sql(text)], rows: PhantomData }
    }

    /// Adds text.
    pub(super) fn sql(mut self, text: &'static str) -> Self {
        self.parts.push(Fragment::Sql(text));
        self
    }

    /// Adds another statement.
    pub(super) fn then(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Adds a `?` bound to a string.
    pub(super) fn text(mut self, value: impl Into<String>) -> Self {
        self.parts.push(Fragment::Text(value.into()));
        self
    }

    /// Adds a `?` bound to an integer.
    pub(super) fn integer(mut self, value: i64) -> Self {
        self.parts.push(Fragment::Integer(value));
        self
    }

    /// Adds a `?` bound to bytes.
    pub(super) fn bytes(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.parts.push(Fragment::Bytes(value.into()));
        self
    }

    /// Adds a `?` bound to a number of rows.
    pub(super) fn limit(self, rows: usize) -> Self {
        self.integer(i64::try_from(rows).unwrap_or(i64::MAX))
    }
}

impl<T> QueryFragment<Sqlite> for Sql<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        for part in &self.parts {
            match part {
                Fragment::Sql(text) => out.push_sql(text),
                Fragment::Text(value) => out.push_bind_param::<Text, String>(value)?,
                Fragment::Integer(value) => out.push_bind_param::<BigInt, i64>(value)?,
                Fragment::Bytes(value) => out.push_bind_param::<Binary, Vec<u8>>(value)?,
            }
        }
        Ok(())
    }
}

impl<T> QueryId for Sql<T> {
    type QueryId = ();
    /// The text differs between values, so the text is the key of the cache.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T> Query for Sql<T> {
    type SqlType = T;
}

impl<T> RunQueryDsl<SqliteConnection> for Sql<T> {}

/// A row to insert.
pub(super) trait Insert: 'static {
    /// The statement up to the values, in pieces.
    const HEAD: &'static [&'static str];
    /// The statement after the values, in pieces.
    const TAIL: &'static [&'static str] = &[];

    /// Adds the values in parentheses.
    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()>;
}

/// Exactly `N` rows to insert by one statement.
struct Rows<'r, R, const N: usize>(&'r [R; N]);

impl<R: Insert, const N: usize> QueryFragment<Sqlite> for Rows<'_, R, N> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        for piece in R::HEAD {
            out.push_sql(piece);
        }
        for (index, row) in self.0.iter().enumerate() {
            out.push_sql(if index == 0 { " VALUES " } else { ", " });
            row.values(&mut out)?;
        }
        for piece in R::TAIL {
            out.push_sql(piece);
        }
        Ok(())
    }
}

impl<R: Insert, const N: usize> QueryId for Rows<'_, R, N> {
    type QueryId = Rows<'static, R, N>;
}

impl<R, const N: usize> RunQueryDsl<SqliteConnection> for Rows<'_, R, N> {}

/// Inserts rows in order; returns how many it inserted or replaced. Statements of
/// a few sizes, each prepared once, cover a batch of any size.
pub(super) fn insert<R: Insert>(connection: &mut SqliteConnection, rows: &[R]) -> QueryResult<usize> {
    let (inserted, rest) = chunks::<R, 256>(connection, rows)?;
    let (more, rest) = chunks::<R, 32>(connection, rest)?;
    let (some, rest) = chunks::<R, 4>(connection, rest)?;
    let (few, _) = chunks::<R, 1>(connection, rest)?;
    Ok(inserted + more + some + few)
}

fn chunks<'r, R: Insert, const N: usize>(
    connection: &mut SqliteConnection,
    rows: &'r [R],
) -> QueryResult<(usize, &'r [R])> {
    let (chunks, rest) = rows.as_chunks::<N>();
    let mut inserted = 0;
    for chunk in chunks {
        inserted += Rows(chunk).execute(connection)?;
    }
    Ok((inserted, rest))
}

/// Adds fields of a row as binds, in parentheses.
macro_rules! values {
    ($out:ident, $row:ident, $first:ident: $first_type:ty $(, $field:ident: $type:ty)* $(,)?) => {{
        $out.push_sql("(");
        $out.push_bind_param::<$first_type, _>(&$row.$first)?;
        $(
            $out.push_sql(", ");
            $out.push_bind_param::<$type, _>(&$row.$field)?;
        )*
        $out.push_sql(")");
    }};
}
pub(super) use values;
