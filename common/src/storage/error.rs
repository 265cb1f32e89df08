//! Errors of object storage.

use crate::error::Retryable;
use reqwest::StatusCode;

/// A request to object storage failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The client could not be created: the endpoint or TLS is invalid.
    #[error("configuring object storage")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There are no credentials. The request was not sent.
    #[error("no credentials for object storage")]
    Credentials(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The key cannot be part of a URL. The request was not sent.
    #[error("invalid object key {0:?}")]
    Key(String),
    /// There was no response, or it broke off.
    #[error("could not {operation}")]
    Http {
        /// What the request was for.
        operation: &'static str,
        /// The error, without the signed URL.
        #[source]
        source: reqwest::Error,
    },
    /// The server rejected the request.
    #[error("could not {operation}: object storage responded {status} {code}")]
    Refused {
        /// What the request was for.
        operation: &'static str,
        /// The status.
        status: StatusCode,
        /// S3's error code, such as `AccessDenied`; empty if there is none.
        code: String,
    },
    /// The response could not be read.
    #[error("could not {operation}: the response is not the XML of S3 ({reason})")]
    Unreadable {
        /// What the request was for.
        operation: &'static str,
        /// The problem.
        reason: String,
    },
}

impl StorageError {
    /// Returns whether a repetition within seconds may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Http { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            Self::Setup(_) | Self::Credentials(_) | Self::Key(_) | Self::Unreadable { .. } => false,
        }
    }
}

impl Retryable for StorageError {
    fn is_retryable(&self) -> bool {
        self.is_transient()
    }
}
