//! Statements with named parameters.
//!
//! SQL names its parameters: `where id = $id`. [`params!`](super::params) gives each a value by name, so that two
//! parameters of the same type cannot be swapped by their order.

use super::row::{self, Column, ColumnError, FromRow};
use super::types::SqlParam;
use super::{DbError, Row, Type};
use std::marker::PhantomData;
use tokio_postgres::types::ToSql;

/// A SQL statement and the struct of its rows. `Statement<()>` has no result.
#[derive(Debug)]
pub struct Statement<R> {
    /// What it does, for errors: `could not {operation}`.
    operation: &'static str,
    sql: &'static str,
    row: PhantomData<fn() -> R>,
}

/// The name and value of a parameter.
pub type Param<'a> = (&'static str, &'a dyn SqlParam);

/// Names the parameters of a statement: `params! { id, before: now - age }`, like the fields of a struct.
macro_rules! params {
    (@value $name:ident) => { &$name };
    (@value $name:ident $value:expr) => { &$value };
    ($($name:ident $(: $value:expr)?),* $(,)?) => {
        [$((stringify!($name), $crate::db::statement::params!(@value $name $($value)?) as &dyn $crate::db::SqlParam)),*]
    };
}

pub(crate) use params;

impl<R: FromRow> Statement<R> {
    /// Creates a statement. `operation` completes the sentence "could not …".
    #[must_use]
    pub const fn new(operation: &'static str, sql: &'static str) -> Self {
        Self { operation, sql, row: PhantomData }
    }

    /// Returns the SQL with named parameters.
    #[must_use]
    pub const fn sql(&self) -> &'static str {
        self.sql
    }

    /// Returns the statement without its type, for the list of all statements.
    pub(super) const fn described(&self, name: &'static str) -> Described {
        Described { name, sql: self.sql, columns: R::columns }
    }

    /// Replaces the names of parameters by their positions.
    pub(super) fn bind<'a>(&self, params: &[Param<'a>]) -> Result<Bound<'a>, DbError> {
        let names: Vec<&str> = params.iter().map(|(name, _)| *name).collect();
        let sql = positional(self.sql, &names)
            .map_err(|source| DbError::Parameters { operation: self.operation, source })?;
        let params = params.iter().map(|(_, value)| (value.as_sql(), value.sql_type())).collect();
        Ok(Bound { operation: self.operation, sql, params })
    }

    /// Reads the rows of its result.
    pub(super) fn read(&self, rows: &[Row]) -> Result<Vec<R>, DbError> {
        row::read_all(rows).map_err(|error| self.decode_error(error))
    }

    fn decode_error(&self, error: ColumnError) -> DbError {
        DbError::Decode { operation: self.operation, source: error.into() }
    }
}

impl<A: FromRow, B: FromRow> Statement<(A, Option<B>)> {
    /// Reads the rows of a join in which `A` is the same in all.
    pub(super) fn read_joined(&self, rows: &[Row]) -> Result<Option<(A, Vec<B>)>, DbError> {
        row::read_joined(rows).map_err(|error| self.decode_error(error))
    }
}

/// A statement with the values of its parameters.
pub(super) struct Bound<'a> {
    pub(super) operation: &'static str,
    pub(super) sql: String,
    pub(super) params: Vec<(&'a (dyn ToSql + Sync), Type)>,
}

/// The names in the SQL and the names of the values differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The SQL has a parameter without a value.
    #[error("the parameter ${0} has no value")]
    NoValue(String),
    /// A value has no parameter in the SQL.
    #[error("the SQL has no parameter ${0}")]
    NotUsed(String),
}

/// Replaces `$name` by `$n`, where `n` is the position of the name.
fn positional(sql: &str, names: &[&str]) -> Result<String, ParameterError> {
    let mut positional = String::with_capacity(sql.len());
    let mut used = vec![false; names.len()];
    let mut parts = sql.split('$');
    positional.extend(parts.next());
    for part in parts {
        positional.push('$');
        let (name, rest) = split_name(part);
        if !name.is_empty() {
            let position = names.iter().position(|known| *known == name);
            let position = position.ok_or_else(|| ParameterError::NoValue(name.to_owned()))?;
            used[position] = true;
            positional.push_str(&(position + 1).to_string());
        }
        positional.push_str(rest);
    }
    match names.iter().zip(used).find(|(_, is_used)| !is_used) {
        Some((name, _)) => Err(ParameterError::NotUsed((*name).to_owned())),
        None => Ok(positional),
    }
}

/// Splits the text after a `$` into the name and the rest.
fn split_name(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

/// A statement of the list of all statements, for the test against the schema.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// The path of its constant.
    pub name: &'static str,
    sql: &'static str,
    columns: fn() -> Vec<Column>,
}

impl Described {
    /// Returns the SQL with positional parameters, numbered in the order of their first use.
    #[must_use]
    pub fn sql(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for name in self.sql.split('$').skip(1).map(|part| split_name(part).0) {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        positional(self.sql, &names).unwrap_or_default()
    }

    /// Returns the columns that its struct reads.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        (self.columns)()
    }
}

/// Defines the list of a module's statements.
macro_rules! statements {
    ($($statement:ident),+ $(,)?) => {
        pub(in crate::db) const STATEMENTS: &[$crate::db::Described] =
            &[$($statement.described(concat!(module_path!(), "::", stringify!($statement)))),+];
    };
}

pub(crate) use statements;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_by_their_positions() {
        let sql = "select f(a => $before, b => $before_id, c => $before::text) where x ~ '^a$'";
        assert_eq!(
            positional(sql, &["before_id", "before"]).unwrap(),
            "select f(a => $2, b => $1, c => $2::text) where x ~ '^a$'"
        );
        assert_eq!(
            Statement::<()>::new("x", sql).described("x").sql(),
            positional(sql, &["before", "before_id"]).unwrap()
        );
    }

    #[test]
    fn a_missing_or_surplus_value_is_an_error() {
        assert_eq!(positional("select $a, $b", &["a"]), Err(ParameterError::NoValue("b".to_owned())));
        assert_eq!(positional("select $a", &["a", "b"]), Err(ParameterError::NotUsed("b".to_owned())));
    }
}
