//! SQS's errors in its JSON protocol, with the codes of the older query protocol in a header.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

/// An SQS error response.
#[derive(Debug, thiserror::Error)]
pub enum SqsError {
    /// No queue has that URL.
    #[error("The specified queue does not exist.")]
    QueueDoesNotExist,
    /// A queue with this name and other attributes exists.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    QueueNameExists(String),
    /// A batch without entries.
    #[error("There should be at least one {0}RequestEntry in the request.")]
    EmptyBatchRequest(&'static str),
    /// A batch of more than ten.
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntriesInBatchRequest(usize),
    /// Two entries with the same ID.
    #[error("Id {0} repeated.")]
    BatchEntryIdsNotDistinct(String),
    /// An invalid entry ID.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. \
         It can be at most 80 letters long."
    )]
    InvalidBatchEntryId,
    /// The total size of a batch exceeds the limit.
    #[error("Batch requests cannot be longer than {limit} bytes. You have sent {sent} bytes.")]
    BatchRequestTooLong {
        /// The limit in bytes.
        limit: usize,
        /// The size of the batch in bytes.
        sent: usize,
    },
    /// A character that XML 1.0 does not allow.
    #[error(
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD \
            | #x10000 to #x10FFFF"
    )]
    InvalidMessageContents,
    /// A malformed receipt handle.
    #[error("The input receipt handle \"{0}\" is not a valid receipt handle.")]
    ReceiptHandleIsInvalid(String),
    /// A visibility change of a message that is not in flight.
    #[error(
        "Value {0} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for \
            visibility timeout change."
    )]
    MessageNotInflight(String),
    /// An unknown attribute.
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    /// An invalid attribute value.
    #[error("Invalid value for the parameter {0}.")]
    InvalidAttributeValue(String),
    /// The source queue of a message move does not exist.
    #[error("{0}")]
    ResourceNotFound(String),
    /// A required parameter is missing.
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    /// Any other invalid parameter.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// An action that the local stack does not implement.
    #[error("{0} is not supported by the local stack.")]
    UnsupportedOperation(String),
    /// The store failed.
    #[error("The request processing has failed because of an unknown error, exception or failure.")]
    Internal(#[from] rusqlite::Error),
}

impl SqsError {
    /// Returns the error's name in the JSON protocol and its code in the query protocol.
    #[must_use]
    pub fn codes(&self) -> (&'static str, &'static str) {
        match self {
            Self::QueueDoesNotExist => ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
            Self::QueueNameExists(_) => ("QueueNameExists", "QueueAlreadyExists"),
            Self::EmptyBatchRequest(_) => ("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest"),
            Self::TooManyEntriesInBatchRequest(_) => {
                ("TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
            }
            Self::BatchEntryIdsNotDistinct(_) => {
                ("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
            }
            Self::InvalidBatchEntryId => {
                ("InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId")
            }
            Self::BatchRequestTooLong { .. } => {
                ("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong")
            }
            Self::InvalidMessageContents => ("InvalidMessageContents", "InvalidMessageContents"),
            Self::ReceiptHandleIsInvalid(_) => ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
            Self::MessageNotInflight(_) => {
                ("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight")
            }
            Self::InvalidAttributeName(_) => ("InvalidAttributeName", "InvalidAttributeName"),
            Self::InvalidAttributeValue(_) => ("InvalidAttributeValue", "InvalidAttributeValue"),
            Self::ResourceNotFound(_) => ("ResourceNotFoundException", "ResourceNotFoundException"),
            Self::MissingParameter(_) => ("MissingParameter", "MissingParameter"),
            Self::InvalidParameterValue(_) => ("InvalidParameterValue", "InvalidParameterValue"),
            Self::UnsupportedOperation(_) => {
                ("UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation")
            }
            Self::Internal(_) => ("InternalFailure", "InternalFailure"),
        }
    }
}

impl IntoResponse for SqsError {
    fn into_response(self) -> Response {
        let (name, query_code) = self.codes();
        let (status, fault) = match self {
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Receiver"),
            _ => (StatusCode::BAD_REQUEST, "Sender"),
        };
        let body = json!({ "__type": format!("com.amazonaws.sqs#{name}"), "message": self.to_string() });
        let headers = [
            ("content-type", "application/x-amz-json-1.0".to_owned()),
            ("x-amzn-query-error", format!("{query_code};{fault}")),
        ];
        (status, headers, body.to_string()).into_response()
    }
}
