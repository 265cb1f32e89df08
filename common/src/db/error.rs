//! What can go wrong with Postgres, and what to do about it.

use crate::error::MayPass;
use std::time::Duration;
use tokio_postgres::error::SqlState;

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
        /// What the pool says.
        #[source]
        source: deadpool_postgres::PoolError,
    },
    /// Postgres refused the statement, or the connection broke.
    #[error("could not {operation}")]
    Query {
        /// What was to be done.
        operation: &'static str,
        /// What Postgres says.
        #[source]
        source: tokio_postgres::Error,
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
                // Refused before it was sent: a value that has no form on the wire.
                None => source.to_string().starts_with("error serializing parameter"),
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
