//! Error chains for logs, and the trait of errors that can be retried.

use std::error::Error;
use std::fmt::Write;

/// Returns an error with all its causes on one line, outermost first.
///
/// `Display` alone is not enough: `tokio_postgres::Error` prints only "db error", and the message of Postgres is in its
/// source. Omits a cause whose text is already in the line, because some libraries repeat their source.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            // Writing to a String cannot fail.
            let _ = write!(line, ": {text}");
        }
        cause = error.source();
    }
    line
}

/// An error that knows whether a retry can succeed.
///
/// Errors of adapters implement it, so that [`crate::http::ApiError`] can be created from them without importing them.
pub trait Retryable: Error + Send + Sync + 'static {
    /// Returns whether a retry can succeed: the response is 503 instead of 500.
    fn is_retryable(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("storing the message")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("connection refused")]
    struct Inner;

    #[test]
    fn a_chain_has_each_cause_once_outermost_first() {
        assert_eq!(chain(&Outer(Inner)), "storing the message: connection refused");
    }
}
