//! Examples of error responses.

use common::domain::rate_limit::{Limit, Quota};
use common::http::{ApiError, MAX_BODY_BYTES, Scope, ValidationError};
use jiff::Timestamp;
use serde_json::{Value, json};
use utoipa::openapi::{Content, RefOr, Response, Schema};

/// Adds examples to the JSON of an error response. Its description names the codes.
pub(crate) fn add(status: &str, response: &mut Response) {
    let codes: Vec<String> =
        response.description.split('`').filter(|word| word.starts_with("sms.")).map(str::to_owned).collect();
    let Some(RefOr::T(content)) = response.content.get_mut("application/json") else { return };
    if content.example.is_some() || !content.examples.is_empty() {
        return;
    }
    content.example = match codes.first() {
        _ if status.starts_with('2') => None,
        Some(code) => envelope(code),
        None if refers_to(content, "FunctionUrlMessage") && status == "429" => {
            Some(json!({ "Message": "Rate Exceeded." }))
        }
        None => match status {
            "401" => Some(json!({ "message": "Unauthorized" })),
            "429" => Some(json!({ "message": "Too Many Requests" })),
            "5XX" => envelope("sms.internal"),
            _ => None,
        },
    };
}

fn refers_to(content: &Content, name: &str) -> bool {
    let schema: Option<&RefOr<Schema>> = content.schema.as_ref();
    serde_json::to_string(&schema).is_ok_and(|text| text.contains(&format!("/{name}\"")))
}

/// Returns the body of a response with this code.
fn envelope(code: &str) -> Option<Value> {
    let id = "01900000-0000-7000-8000-0000000000e7";
    let error = errors().into_iter().find(|error| error.code() == code)?;
    let response = error.response(id, Timestamp::from_second(1_793_534_400).ok()?);
    serde_json::from_slice::<Value>(response.body()).ok()
}

fn errors() -> [ApiError; 11] {
    [
        ApiError::Validation(ValidationError::field("limit", "must be a whole number from 1 to 100")),
        ApiError::Unauthorized,
        ApiError::Forbidden { missing: Scope::MessagesSend },
        ApiError::NotFound("the resource"),
        ApiError::IdempotencyConflict,
        ApiError::RecipientOptedOut,
        ApiError::Conflict("the current state does not allow it".into()),
        ApiError::PayloadTooLarge { limit: MAX_BODY_BYTES },
        ApiError::RateLimited(Quota { limit: Limit::Key(600), remaining: 0, reset_seconds: 12 }),
        ApiError::internal(""),
        ApiError::unavailable(""),
    ]
}
