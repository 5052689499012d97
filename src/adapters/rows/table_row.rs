//! Rows of tables. One list declares a row: its struct, the names and SQL types
//! of its columns, how it is read and how it is bound, so that no column can be
//! missing from one of them or change its position.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::AstPass;

/// A row of a table.
pub trait TableRow {
    /// The SQL types of the columns, in order.
    type SqlTypes;
    /// The name of the table.
    const TABLE: &'static str;
    /// The names of the columns, in order, separated by commas.
    const COLUMNS: &'static str;
    /// The same names, each qualified with the table.
    const QUALIFIED: &'static str;
    /// `name = excluded.name` for each column, separated by commas.
    const EXCLUDED: &'static str;
}

/// A row that can be bound to a statement of a database.
pub trait BindRow<DB: Backend> {
    /// Adds the values to the statement as binds, in order and in parentheses.
    ///
    /// # Errors
    /// A value cannot be encoded.
    fn bind<'b>(&'b self, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()>;
}

/// Declares a row: `field: RustType = "column" as SqlType` for each column.
macro_rules! table_row {
    (
        $(#[$meta:meta])*
        pub struct $row:ident = $table:literal {
            $(#[$first_meta:meta])*
            $first:ident: $first_rust:ty = $first_column:literal as $first_sql:ty,
            $(
                $(#[$field_meta:meta])*
                $field:ident: $rust:ty = $column:literal as $sql:ty,
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $row {
            $(#[$first_meta])*
            pub $first: $first_rust,
            $(
                $(#[$field_meta])*
                pub $field: $rust,
            )*
        }

        impl $crate::adapters::rows::TableRow for $row {
            type SqlTypes = ($first_sql, $($sql,)*);
            const TABLE: &'static str = $table;
            const COLUMNS: &'static str = concat!($first_column $(, ", ", $column)*);
            const QUALIFIED: &'static str =
                concat!($table, ".", $first_column $(, ", ", $table, ".", $column)*);
            const EXCLUDED: &'static str =
                concat!($first_column, " = excluded.", $first_column $(, ", ", $column, " = excluded.", $column)*);
        }

        impl<DB: diesel::backend::Backend> diesel::Queryable<($first_sql, $($sql,)*), DB> for $row
        where
            ($first_rust, $($rust,)*): diesel::deserialize::FromStaticSqlRow<($first_sql, $($sql,)*), DB>,
        {
            type Row = ($first_rust, $($rust,)*);

            fn build(($first, $($field,)*): Self::Row) -> diesel::deserialize::Result<Self> {
                Ok(Self { $first, $($field,)* })
            }
        }

        impl<DB: diesel::backend::Backend> $crate::adapters::rows::BindRow<DB> for $row
        where
            DB: diesel::sql_types::HasSqlType<$first_sql> $(+ diesel::sql_types::HasSqlType<$sql>)*,
            $first_rust: diesel::serialize::ToSql<$first_sql, DB>,
            $($rust: diesel::serialize::ToSql<$sql, DB>,)*
        {
            fn bind<'b>(
                &'b self,
                out: &mut diesel::query_builder::AstPass<'_, 'b, DB>,
            ) -> diesel::QueryResult<()> {
                let Self { $first, $($field,)* } = self;
                out.push_sql("(");
                out.push_bind_param::<$first_sql, $first_rust>($first)?;
                $(
                    out.push_sql(", ");
                    out.push_bind_param::<$sql, $rust>($field)?;
                )*
                out.push_sql(")");
                Ok(())
            }
        }
    };
}
pub(super) use table_row;
