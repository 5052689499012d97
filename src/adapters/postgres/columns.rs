//! Columns that a statement takes as arrays, one array for each column and one
//! element for each row, so that its text does not depend on the number of rows.
//!
//! One list declares a set of columns: their names, their SQL types, the values
//! of a row and the arrays. Statements take names, placeholders and their
//! numbers from it, and never spell them.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;

/// An array for each of some columns.
pub(super) trait Columns {
    /// The names of the columns, in order.
    const NAMES: &'static [&'static str];

    /// Returns empty arrays with room for that number of rows.
    fn with_capacity(rows: usize) -> Self;

    /// Binds the arrays: `$1, $2`.
    fn bind<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    /// Binds the arrays as a select list that yields a row for each element:
    /// `unnest($1) AS a, unnest($2) AS b`.
    fn select<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

/// Declares columns as `field: SqlType = RustType`, or `field("name"): …` if
/// the name of the column is not a Rust identifier.
///
/// `Arrays { … }` declares the struct of arrays alone. `Row in Arrays { … }`
/// also declares a struct with the values of one row, from which the arrays are
/// filled. `constant Row in Arrays { … }` also writes a row as SQL literals.
macro_rules! columns {
    ($(#[$doc:meta])* $arrays:ident $(<$life:lifetime>)? {
        $($field:ident $(($name:literal))?: $sql:ty = $rust:ty,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $arrays $(<$life>)? {
            $($field: Vec<$rust>,)+
        }

        impl $(<$life>)? $crate::adapters::postgres::columns::Columns for $arrays $(<$life>)? {
            const NAMES: &'static [&'static str] =
                &[$($crate::adapters::postgres::columns::column_name!($field $($name)?)),+];

            fn with_capacity(rows: usize) -> Self {
                Self { $($field: Vec::with_capacity(rows),)+ }
            }

            fn bind<'b>(
                &'b self,
                out: &mut diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::QueryResult<()> {
                let mut separator = "";
                $(
                    out.push_sql(separator);
                    out.push_bind_param::<diesel::sql_types::Array<$sql>, _>(&self.$field)?;
                    separator = ", ";
                )+
                let _ = separator;
                Ok(())
            }

            fn select<'b>(
                &'b self,
                out: &mut diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::QueryResult<()> {
                let mut separator = "";
                $(
                    out.push_sql(separator);
                    out.push_sql("unnest(");
                    out.push_bind_param::<diesel::sql_types::Array<$sql>, _>(&self.$field)?;
                    out.push_sql(") AS ");
                    out.push_sql($crate::adapters::postgres::columns::column_name!($field $($name)?));
                    separator = ", ";
                )+
                let _ = separator;
                Ok(())
            }
        }
    };
    ($(#[$doc:meta])* $row:ident $(<$life:lifetime>)? in $arrays:ident {
        $($field:ident $(($name:literal))?: $sql:ty = $rust:ty,)+
    }) => {
        columns! {
            #[doc = concat!("Arrays of [`", stringify!($row), "`].")]
            $arrays $(<$life>)? {
                $($field $(($name))?: $sql = $rust,)+
            }
        }

        $(#[$doc])*
        #[derive(Debug, PartialEq, Eq)]
        pub(super) struct $row $(<$life>)? {
            $(pub(super) $field: $rust,)+
        }

        impl $(<$life>)? $arrays $(<$life>)? {
            /// Adds a row.
            pub(super) fn push(&mut self, row: $row $(<$life>)?) {
                let $row { $($field,)+ } = row;
                $(self.$field.push($field);)+
            }
        }
    };
    ($(#[$doc:meta])* constant $row:ident in $arrays:ident {
        $($field:ident $(($name:literal))?: $sql:ty = $rust:ty,)+
    }) => {
        columns! {
            $(#[$doc])*
            $row in $arrays {
                $($field $(($name))?: $sql = $rust,)+
            }
        }

        impl $row {
            /// Returns the values as SQL literals, in the order of the columns.
            pub(super) fn literals(&self) -> String {
                use $crate::adapters::postgres::columns::Literal as _;
                let Self { $($field,)+ } = self;
                [$($field.literal()),+].join(", ")
            }
        }
    };
}
pub(super) use columns;

/// Names a column: by its literal, or else by its field.
macro_rules! column_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}
pub(super) use column_name;

/// A value that can be written as an SQL literal.
pub(super) trait Literal {
    /// Returns the literal.
    fn literal(&self) -> String;
}

impl Literal for &'static str {
    fn literal(&self) -> String {
        format!("'{}'", self.replace('\'', "''"))
    }
}

impl Literal for i64 {
    fn literal(&self) -> String {
        self.to_string()
    }
}

impl Literal for Option<i64> {
    fn literal(&self) -> String {
        self.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
    }
}

/// The placeholders of columns that were bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placeholders {
    /// The number of the first placeholder.
    first: usize,
    /// The number of placeholders.
    count: usize,
}

/// The text of a statement with its binds. It counts placeholders as they are
/// bound, so that the text can refer to them again.
pub(super) struct StatementText<'a, 'b> {
    out: AstPass<'a, 'b, Pg>,
    bound: usize,
}

impl<'a, 'b> StatementText<'a, 'b> {
    /// Begins a statement without placeholders.
    pub(super) fn new(out: AstPass<'a, 'b, Pg>) -> Self {
        Self { out, bound: 0 }
    }

    /// Adds SQL.
    pub(super) fn sql(&mut self, text: &str) -> &mut Self {
        self.out.push_sql(text);
        self
    }

    /// Adds the names of the columns: `a, b`.
    pub(super) fn names<C: Columns>(&mut self) -> &mut Self {
        self.list(C::NAMES)
    }

    /// Adds an assignment for each column: `a = source.a, b = source.b`.
    pub(super) fn assignments<C: Columns>(&mut self, source: &str) -> &mut Self {
        let assignments: Vec<String> =
            C::NAMES.iter().map(|name| format!("{name} = {source}.{name}")).collect();
        self.list(&assignments)
    }

    /// Binds the arrays: `$1, $2`.
    pub(super) fn bind<C: Columns>(&mut self, columns: &'b C) -> QueryResult<Placeholders> {
        columns.bind(&mut self.out)?;
        Ok(self.count::<C>())
    }

    /// Binds the arrays as a select list: `unnest($1) AS a, unnest($2) AS b`.
    pub(super) fn select<C: Columns>(&mut self, columns: &'b C) -> QueryResult<Placeholders> {
        columns.select(&mut self.out)?;
        Ok(self.count::<C>())
    }

    /// Adds placeholders that were bound before: `$1, $2`.
    pub(super) fn bound(&mut self, placeholders: Placeholders) -> &mut Self {
        let numbers = placeholders.first..placeholders.first + placeholders.count;
        self.list(&numbers.map(|number| format!("${number}")).collect::<Vec<_>>())
    }

    /// Adds the number of rows of arrays that were bound before.
    pub(super) fn cardinality(&mut self, placeholders: Placeholders) -> &mut Self {
        self.sql(&format!("cardinality(${})", placeholders.first))
    }

    fn list(&mut self, items: &[impl AsRef<str>]) -> &mut Self {
        let mut separator = "";
        for item in items {
            self.out.push_sql(separator);
            self.out.push_sql(item.as_ref());
            separator = ", ";
        }
        self
    }

    fn count<C: Columns>(&mut self) -> Placeholders {
        let placeholders = Placeholders { first: self.bound + 1, count: C::NAMES.len() };
        self.bound += placeholders.count;
        placeholders
    }
}
