//! How an error and its causes are written, once, for logs.

use std::error::Error;
use std::fmt::Write;

/// Writes an error with all its causes on one line, outermost first.
///
/// Displays alone are not enough: `tokio_postgres::Error` prints "db error" and hides what Postgres said in its
/// source. A cause whose text already stands in the line (some libraries repeat their source) is not repeated.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            // Writing to a String can't fail.
            let _ = write!(line, ": {text}");
        }
        cause = error.source();
    }
    line
}

/// A failure of something that we need, which knows whether it may be gone in a moment.
///
/// Adapters' errors implement it, so that [`crate::http::ApiError`] can be made of them without knowing any.
pub trait MayPass: Error + Send + Sync + 'static {
    /// Tells whether the caller does well to try again: 503 rather than 500.
    fn may_pass(&self) -> bool;
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
    fn every_cause_is_written_once_outermost_first() {
        assert_eq!(chain(&Outer(Inner)), "storing the message: connection refused");
    }
}
