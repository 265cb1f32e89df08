//! Errors of the Monitor and the profile service.

use crate::tls::TlsError;
use reqwest::StatusCode;
use std::time::Duration;

/// An error while creating a client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// TLS could not be configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client could not be built.
    #[error("building the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// An error of a request. Contains no URL, because URLs contain phone numbers and can contain credentials.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The circuit breaker is open after several failures. No request was sent.
    #[error("the circuit breaker is open")]
    BreakerOpen,
    /// The connection failed or was closed.
    #[error("sending the request")]
    Http(#[source] reqwest::Error),
    /// The request timed out.
    #[error("no response within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The service failed or is overloaded: a 5xx status or 429.
    #[error("the service failed with {0}")]
    Failed(StatusCode),
    /// Another status: the credentials, the URL or the API version are wrong. An operator must act.
    #[error("the service rejected the request with {0}")]
    Refused(StatusCode),
    /// The response body is too long.
    #[error("the response is longer than {0} bytes")]
    TooLong(usize),
    /// The response body is not valid.
    #[error("the response {0}")]
    Unreadable(&'static str),
}

impl RequestError {
    /// Returns the error for an unsuccessful status.
    pub(super) fn of(status: StatusCode) -> Self {
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            Self::Failed(status)
        } else {
            Self::Refused(status)
        }
    }

    /// Returns whether an immediate retry can succeed.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Http(_) | Self::TimedOut(_) | Self::Failed(_) | Self::TooLong(_) | Self::Unreadable(_) => {
                true
            }
            Self::BreakerOpen | Self::Refused(_) => false,
        }
    }
}
