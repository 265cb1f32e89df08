//! Rows, read into structs by column name.
//!
//! [`row!`](super::row!) defines a struct whose fields are the columns of a statement. A test compares the columns with
//! those of the prepared statement, by name and type.

use super::{Row, Type};
use tokio_postgres::types::{FromSql, FromSqlOwned};

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

/// A column that a struct reads.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name in the result of the statement.
    pub name: &'static str,
    /// Returns whether the field accepts a Postgres type.
    pub accepts: fn(&Type) -> bool,
}

impl Column {
    /// Creates the column of a field of type `T`.
    #[must_use]
    pub fn of<T: FromSqlOwned>(name: &'static str) -> Self {
        Self { name, accepts: <T as FromSql<'static>>::accepts }
    }
}

/// A column cannot be read: it is missing, null, of another type, or has an unknown value.
#[derive(Debug, thiserror::Error)]
#[error("column {column}")]
pub struct ColumnError {
    column: &'static str,
    #[source]
    source: tokio_postgres::Error,
}

/// A type that is read from a row.
pub trait FromRow: Sized {
    /// Returns the columns that [`from_row`](Self::from_row) reads.
    fn columns() -> Vec<Column>;

    /// Reads a row.
    ///
    /// # Errors
    ///
    /// [`ColumnError`] for the first column that cannot be read.
    fn from_row(row: &Row) -> Result<Self, ColumnError>;
}

/// Reads a column.
///
/// # Errors
///
/// [`ColumnError`] if it cannot be read.
pub fn read<T: FromSqlOwned>(row: &Row, column: &'static str) -> Result<T, ColumnError> {
    row.try_get(column).map_err(|source| ColumnError { column, source })
}

/// Defines a struct that is read from a row: one column per field, with the name of the field or, after `=`, another.
///
/// ```ignore
/// row! {
///     /// A conversation.
///     #[derive(Debug)]
///     pub struct Conversation {
///         /// Its id.
///         pub id: Uuid = "conversation_id",
///         /// The tenant, if known.
///         pub tenant_id: Option<String>,
///     }
/// }
/// ```
macro_rules! row {
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $column:literal) => { $column };
    ($(#[$meta:meta])* $vis:vis struct $row:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty $(= $column:literal)?,)+
    }) => {
        $(#[$meta])*
        $vis struct $row {
            $($(#[$field_meta])* $field_vis $field: $type,)+
        }

        impl $crate::db::FromRow for $row {
            fn columns() -> Vec<$crate::db::Column> {
                vec![$($crate::db::Column::of::<$type>($crate::db::row::row!(@name $field $($column)?))),+]
            }

            fn from_row(row: &$crate::db::Row) -> Result<Self, $crate::db::ColumnError> {
                Ok(Self {
                    $($field: $crate::db::row::read(row, $crate::db::row::row!(@name $field $($column)?))?,)+
                })
            }
        }
    };
}

pub(crate) use row;

/// A statement without a result.
impl FromRow for () {
    fn columns() -> Vec<Column> {
        Vec::new()
    }

    fn from_row(_: &Row) -> Result<Self, ColumnError> {
        Ok(())
    }
}

/// Two structs from one row, as after a join.
impl<A: FromRow, B: FromRow> FromRow for (A, B) {
    fn columns() -> Vec<Column> {
        A::columns().into_iter().chain(B::columns()).collect()
    }

    fn from_row(row: &Row) -> Result<Self, ColumnError> {
        Ok((A::from_row(row)?, B::from_row(row)?))
    }
}

/// A struct that is missing if its first column is null, as after a left join.
impl<R: FromRow> FromRow for Option<R> {
    fn columns() -> Vec<Column> {
        R::columns()
    }

    fn from_row(row: &Row) -> Result<Self, ColumnError> {
        let is_missing = match R::columns().first() {
            Some(first) => read::<Option<Present>>(row, first.name)?.is_none(),
            None => false,
        };
        if is_missing { Ok(None) } else { R::from_row(row).map(Some) }
    }
}

/// Any value that is not null.
struct Present;

impl FromSql<'_> for Present {
    fn from_sql(_: &Type, _: &[u8]) -> Result<Self, BoxedError> {
        Ok(Self)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
