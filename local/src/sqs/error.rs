//! SQS's errors, in the shape of its JSON protocol with the older query protocol's code beside.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

/// What SQS answers instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum SqsError {
    /// No queue has that URL.
    #[error("The specified queue does not exist.")]
    QueueDoesNotExist,
    /// There is a queue of that name with other attributes.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    QueueNameExists(String),
    /// A batch without entries.
    #[error("There should be at least one {0}RequestEntry in the request.")]
    EmptyBatchRequest(&'static str),
    /// A batch of more than ten.
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntriesInBatchRequest(usize),
    /// Two entries of one id.
    #[error("Id {0} repeated.")]
    BatchEntryIdsNotDistinct(String),
    /// An id that SQS does not take.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. \
         It can be at most 80 letters long."
    )]
    InvalidBatchEntryId,
    /// A batch whose bodies are together over the limit.
    #[error("Batch requests cannot be longer than {limit} bytes. You have sent {sent} bytes.")]
    BatchRequestTooLong {
        /// The limit in bytes.
        limit: usize,
        /// What came.
        sent: usize,
    },
    /// A character that XML 1.0 does not have.
    #[error(
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
    )]
    InvalidMessageContents,
    /// A receipt handle that was never given out.
    #[error("The input receipt handle \"{0}\" is not a valid receipt handle.")]
    ReceiptHandleIsInvalid(String),
    /// A change of visibility of a message that nobody holds.
    #[error(
        "Value {0} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change."
    )]
    MessageNotInflight(String),
    /// An attribute that queues do not have.
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    /// A value that the attribute cannot have.
    #[error("Invalid value for the parameter {0}.")]
    InvalidAttributeValue(String),
    /// A move from a queue that is nobody's dead-letter queue.
    #[error("{0}")]
    ResourceNotFound(String),
    /// A parameter that is needed.
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    /// Any other parameter that SQS does not take.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// An action that the local stack does not have.
    #[error("{0} is not supported by the local stack.")]
    UnsupportedOperation(String),
    /// The store failed.
    #[error("The request processing has failed because of an unknown error, exception or failure.")]
    Internal(#[from] rusqlite::Error),
}

impl SqsError {
    /// The error's name in the JSON protocol, and the query protocol's code where it differs.
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
