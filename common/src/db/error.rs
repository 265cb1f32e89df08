//! What can go wrong with Postgres, and what to do about it.

use crate::error::{MayPass, chain};
use deadpool_postgres::{HookError, PoolError};
use std::fmt;
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// An error of the driver or of the pool, written for logs: code, constraint and message.
///
/// Postgres's DETAIL, HINT and CONTEXT quote rows, and with them numbers and texts. They are in neither `Display` nor
/// `Debug` (the Lambda runtime logs the latter), and there is no `source()` that has them.
pub struct PostgresError(Inner);

enum Inner {
    Driver(tokio_postgres::Error),
    Pool(PoolError),
}

impl PostgresError {
    /// Returns the driver's error, unless the pool itself failed.
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

    /// Tells whether a value has no form on the wire: the statement was not sent.
    fn is_about_a_parameter(&self) -> bool {
        self.driver().is_some_and(|error| error.to_string().starts_with("error serializing parameter"))
    }

    /// Tells whether Postgres answers, but has no connection to spare.
    pub(super) fn is_out_of_connections(&self) -> bool {
        self.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
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

/// Returns the part of a message that quotes no value. Those of class 22 (data exception) do, such as
/// `invalid input syntax for type uuid: "…"`; all others name tables, columns and constraints.
fn loggable<'a>(code: &SqlState, message: &'a str) -> &'a str {
    if !code.code().starts_with("22") {
        return message;
    }
    message.split([':', '"']).next().unwrap_or_default().trim_end()
}

/// A statement that has no result. Each variant names the operation, in words that a log reader knows.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The connection could not be prepared.
    #[error("preparing the database connection")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection could be had: the statement did not run.
    #[error("connecting to Postgres to {operation}")]
    Connect {
        /// What was to be done.
        operation: &'static str,
        /// What the pool or Postgres says.
        #[source]
        source: PostgresError,
    },
    /// Postgres refused the statement, or the connection broke.
    #[error("could not {operation}")]
    Query {
        /// What was to be done.
        operation: &'static str,
        /// What Postgres says.
        #[source]
        source: PostgresError,
    },
    /// The answer did not come in time: the statement may have run.
    #[error("could not {operation} within {} ms", after.as_millis())]
    TimedOut {
        /// What was to be done.
        operation: &'static str,
        /// The time that was allowed.
        after: Duration,
    },
    /// A row does not have the form that the code expects.
    #[error("could not read what Postgres returned to {operation}")]
    Decode {
        /// What was to be done.
        operation: &'static str,
        /// What is wrong with the row.
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

    /// Tells whether the data itself is what Postgres refuses: trying the same again is of no use, and in a batch
    /// the other rows deserve to be tried without it.
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

    /// Tells whether the same statement may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !self.is_about_the_data() && !matches!(self, Self::Setup(_) | Self::Decode { .. })
    }

    /// Tells whether Postgres is away, overloaded or starting, and the statement itself is not at fault.
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
                // Without a word from Postgres it was the connection, or a value that has no form on the wire.
                None => !self.is_about_the_data(),
            },
            Self::Setup(_) | Self::Decode { .. } => false,
        }
    }

    /// Tells whether the connection was dead, so that a fresh one may do.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Query { source, .. } => source.is_closed() || source.code().is_none_or(is_shutdown),
            _ => false,
        }
    }

    /// Tells whether Postgres ended the statement because it and another one waited for each other.
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        self.state() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// Tells whether Postgres ended the statement because it waited for a lock for longer than its `lock_timeout`.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.state() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }
}

impl MayPass for DbError {
    fn may_pass(&self) -> bool {
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
