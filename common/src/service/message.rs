//! The id of a message in a request.

use crate::domain::ids::MessageId;
use crate::http::{ApiError, HttpRequestExt, Request, ValidationError};

/// Returns the message id in a request's path.
///
/// # Errors
///
/// [`ApiError::Validation`] when it is not a UUID.
pub fn id(request: &Request) -> Result<MessageId, ApiError> {
    let id = request.path_parameter("id")?;
    id.parse().map_err(|_| ValidationError::field("id", "is not a UUID").into())
}
