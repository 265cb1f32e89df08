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

/// A column cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ColumnError {
    /// The result does not have it.
    #[error("column {0}: not in the result")]
    Missing(&'static str),
    /// It is null, of another type, or has an unknown value.
    #[error("column {column}")]
    Unreadable {
        /// Its name.
        column: &'static str,
        /// The reason.
        source: tokio_postgres::Error,
    },
    /// [`FromRow::columns`] has fewer columns than [`FromRow::from_row`] reads.
    #[error("a column is read that is not listed")]
    NotListed,
}

/// A type that is read from a row.
pub trait FromRow: Sized {
    /// Returns the columns in the order in which [`from_row`](Self::from_row) reads them.
    fn columns() -> Vec<Column>;

    /// Reads a row.
    ///
    /// # Errors
    ///
    /// [`ColumnError`] for the first column that cannot be read.
    fn from_row(row: &mut RowReader<'_>) -> Result<Self, ColumnError>;
}

/// Reads all rows of a result.
///
/// # Errors
///
/// [`ColumnError`] for the first column that cannot be read.
pub(super) fn read_all<R: FromRow>(rows: &[Row]) -> Result<Vec<R>, ColumnError> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let columns = find::<R>(first)?;
    rows.iter().map(|row| R::from_row(&mut RowReader { row, columns: &columns })).collect()
}

/// Reads the rows of a join in which all have the same `A`: `A` from the first row, and `B` from each that has one.
///
/// # Errors
///
/// [`ColumnError`] for the first column that cannot be read.
pub(super) fn read_joined<A: FromRow, B: FromRow>(rows: &[Row]) -> Result<Option<(A, Vec<B>)>, ColumnError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let columns = find::<(A, Option<B>)>(first)?;
    let (of_a, of_b) = columns.split_at(A::columns().len());
    let a = A::from_row(&mut RowReader { row: first, columns: of_a })?;
    let read_b = |row| Option::<B>::from_row(&mut RowReader { row, columns: of_b });
    let b = rows.iter().filter_map(|row| read_b(row).transpose()).collect::<Result<_, _>>()?;
    Ok(Some((a, b)))
}

/// A column and its position in the result.
type Found = (&'static str, usize);

/// Finds the columns once for all rows: tokio-postgres compares the names for each column that it reads by name.
/// Each search starts after the last column found, because structs mostly list columns in the order of the result.
fn find<R: FromRow>(row: &Row) -> Result<Vec<Found>, ColumnError> {
    let names = row.columns();
    let mut next = 0;
    let found = |Column { name, .. }| {
        let mut positions = (next..names.len()).chain(0..next);
        let position = positions.find(|at| names[*at].name() == name).ok_or(ColumnError::Missing(name))?;
        next = position + 1;
        Ok((name, position))
    };
    R::columns().into_iter().map(found).collect()
}

/// Reads the columns of a row in the order of [`FromRow::columns`].
#[derive(Debug)]
pub struct RowReader<'a> {
    row: &'a Row,
    /// The columns that are not read yet.
    columns: &'a [Found],
}

impl RowReader<'_> {
    /// Reads the next column.
    ///
    /// # Errors
    ///
    /// [`ColumnError`] if it cannot be read.
    pub fn read_next<T: FromSqlOwned>(&mut self) -> Result<T, ColumnError> {
        let value = self.peek()?;
        self.skip(1);
        Ok(value)
    }

    /// Reads the next column without advancing.
    fn peek<T: FromSqlOwned>(&self) -> Result<T, ColumnError> {
        let (column, position) = *self.columns.first().ok_or(ColumnError::NotListed)?;
        self.row.try_get(position).map_err(|source| ColumnError::Unreadable { column, source })
    }

    fn skip(&mut self, count: usize) {
        self.columns = self.columns.get(count..).unwrap_or_default();
    }
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

            fn from_row(row: &mut $crate::db::RowReader<'_>) -> Result<Self, $crate::db::ColumnError> {
                Ok(Self { $($field: row.read_next()?,)+ })
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

    fn from_row(_: &mut RowReader<'_>) -> Result<Self, ColumnError> {
        Ok(())
    }
}

/// Two structs from one row, as after a join.
impl<A: FromRow, B: FromRow> FromRow for (A, B) {
    fn columns() -> Vec<Column> {
        A::columns().into_iter().chain(B::columns()).collect()
    }

    fn from_row(row: &mut RowReader<'_>) -> Result<Self, ColumnError> {
        Ok((A::from_row(row)?, B::from_row(row)?))
    }
}

/// A struct that is missing if its first column is null, as after a left join.
impl<R: FromRow> FromRow for Option<R> {
    fn columns() -> Vec<Column> {
        R::columns()
    }

    fn from_row(row: &mut RowReader<'_>) -> Result<Self, ColumnError> {
        if row.peek::<Option<Present>>()?.is_some() {
            return R::from_row(row).map(Some);
        }
        row.skip(R::columns().len());
        Ok(None)
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
