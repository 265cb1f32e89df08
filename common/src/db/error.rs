//! Errors of Postgres, and how to handle them.

use super::statement::ParameterError;
use crate::error::{Retryable, chain};
use deadpool_postgres::{HookError, PoolError};
use std::fmt;
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// An error of the driver or the pool, formatted for logs: code, constraint and message.
///
/// Postgres's DETAIL, HINT and CONTEXT may contain phone numbers and texts. `Display`, `Debug` (which the Lambda
/// runtime logs) and `source()` do not contain them.
pub struct PostgresError(Inner);

enum Inner {
    Driver(tokio_postgres::Error),
    Pool(PoolError),
}

impl PostgresError {
    /// Returns the driver's error, if there is one.
    fn driver(&self) -> Option<&tokio_postgres::Error> {
        match &self.0 {
            Inner::Driver(error)
            | Inner::Pool(PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error))) => {
                Some(error)
            }
            Inner::Pool(_) => None,
        }
    }

    fn code(&self) -> Option<&SqlState> {
        self.driver()?.code()
    }

    fn is_closed(&self) -> bool {
        self.driver().is_some_and(tokio_postgres::Error::is_closed)
    }

    /// Returns whether a value could not be encoded. The statement was not sent.
    fn is_about_a_parameter(&self) -> bool {
        self.driver().is_some_and(|error| error.to_string().starts_with("error serializing parameter"))
    }

    /// Returns whether Postgres is available but has no free connection.
    pub(super) fn is_out_of_connections(&self) -> bool {
        self.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
    }

    /// Returns whether Postgres rejected the user or the password.
    pub(super) fn is_refused(&self) -> bool {
        let refused = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
        self.code().is_some_and(|code| refused.contains(code))
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(Inner::Driver(error))
    }
}

impl From<PoolError> for PostgresError {
    fn from(error: PoolError) -> Self {
        Self(Inner::Pool(error))
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = self.driver().and_then(tokio_postgres::Error::as_db_error) {
            write!(f, "{} (SQLSTATE {}", loggable(error.code(), error.message()), error.code().code())?;
            if let Some(constraint) = error.constraint() {
                write!(f, ", constraint {constraint}")?;
            }
            return f.write_str(")");
        }
        match (&self.0, self.driver()) {
            (_, Some(error)) => f.write_str(&chain(error)),
            (Inner::Pool(error), None) => error.fmt(f),
            (Inner::Driver(_), None) => Ok(()),
        }
    }
}

impl fmt::Debug for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for PostgresError {}

/// Removes values from a message. Messages of class 22 (data exception) contain them, such as `invalid input syntax for
/// type uuid: "…"`; others name only tables, columns and constraints.
fn loggable<'a>(code: &SqlState, message: &'a str) -> &'a str {
    if !code.code().starts_with("22") {
        return message;
    }
    message.split([':', '"']).next().unwrap_or_default().trim_end()
}

/// A statement failed. Each variant names the operation.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The connection could not be prepared.
    #[error("preparing the database connection")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There was no connection. The statement did not run.
    #[error("connecting to Postgres to {operation}")]
    Connect {
        /// The operation.
        operation: &'static str,
        /// The error of the pool or of Postgres.
        #[source]
        source: PostgresError,
    },
    /// Postgres rejected the statement, or the connection failed.
    #[error("could not {operation}")]
    Query {
        /// The operation.
        operation: &'static str,
        /// The error of Postgres.
        #[source]
        source: PostgresError,
    },
    /// The values of the parameters do not fit the statement. It did not run.
    #[error("could not {operation}")]
    Parameters {
        /// The operation.
        operation: &'static str,
        /// The problem.
        #[source]
        source: ParameterError,
    },
    /// The statement timed out. It may have run.
    #[error("could not {operation} within {} ms", after.as_millis())]
    TimedOut {
        /// The operation.
        operation: &'static str,
        /// The timeout.
        after: Duration,
    },
    /// A row has an unexpected form. The statement has taken effect.
    #[error("could not read what Postgres returned to {operation}")]
    Decode {
        /// The operation.
        operation: &'static str,
        /// The problem.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DbError {
    pub(super) fn query(operation: &'static str, source: tokio_postgres::Error) -> Self {
        Self::Query { operation, source: source.into() }
    }

    fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Query { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Returns whether Postgres rejected the data: a retry fails again. In a batch, store the other rows without it.
    ///
    /// These are the SQLSTATE classes 22 (data exception), 23 (constraint) and 54 (limit exceeded).
    #[must_use]
    pub fn is_about_the_data(&self) -> bool {
        match self {
            Self::Query { source, .. } => match source.code() {
                Some(state) => matches!(state.code().get(..2), Some("22" | "23" | "54")),
                None => source.is_about_a_parameter(),
            },
            _ => false,
        }
    }

    /// Returns whether Postgres is unavailable, overloaded or starting.
    ///
    /// These are the SQLSTATE classes 08 (connection), 25006 (a standby that takes no writes), 40 (rollback),
    /// 53 (resources), 55P03 and 57 (intervention).
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::TimedOut { .. } => true,
            Self::Query { source, .. } => match source.code() {
                Some(state) => {
                    matches!(state.code().get(..2), Some("08" | "40" | "53" | "57"))
                        || matches!(state.code(), "25006" | "55P03")
                }
                // Without a database error, the connection failed or a value could not be encoded.
                None => !self.is_about_the_data(),
            },
            Self::Setup(_) | Self::Parameters { .. } | Self::Decode { .. } => false,
        }
    }

    /// Returns whether the connection was dead. A retry on a new connection may succeed.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Query { source, .. } => source.is_closed() || source.code().is_none_or(is_shutdown),
            _ => false,
        }
    }

    /// Returns whether Postgres canceled the statement because of a deadlock.
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        self.state() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// Returns whether the statement exceeded its `lock_timeout`.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.state() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }
}

impl Retryable for DbError {
    fn is_retryable(&self) -> bool {
        self.is_unavailable()
    }
}

fn is_shutdown(state: &SqlState) -> bool {
    matches!(
        *state,
        SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::IDLE_SESSION_TIMEOUT
            | SqlState::CONNECTION_FAILURE
            | SqlState::CONNECTION_EXCEPTION
    )
}
