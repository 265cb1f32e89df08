//! The error envelope of the API. Callers get a code and a message; the log gets the cause.

use super::{Response, Scope};
use crate::domain::rate_limit::Quota;
use crate::error::Retryable;
use crate::telemetry;
use http::HeaderValue;
use http::StatusCode;
use http::header::{ALLOW, RETRY_AFTER};
use jiff::Timestamp;
use serde::Serialize;
use std::borrow::Cow;
use std::error::Error;
use utoipa::ToSchema;

/// A field of a request that is not valid, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's name, as the caller wrote it.
    pub field: String,
    /// The reason, as the end of a sentence that begins with the field's name.
    pub reason: String,
}

/// All problems of a request, collected before it is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValidationError(Vec<FieldError>);

impl ValidationError {
    /// Creates an error with one field.
    #[must_use]
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let mut error = Self::default();
        error.add(field, reason);
        error
    }

    /// Adds a field.
    pub fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), reason: reason.into() });
    }

    /// Adds a field unless it was added before.
    pub fn add_once(&mut self, field: &str, reason: impl Into<String>) {
        if !self.0.iter().any(|known| known.field == field) {
            self.add(field, reason);
        }
    }

    /// Returns whether no field was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns an error if a field was added.
    ///
    /// # Errors
    ///
    /// `self`, when it names at least one field.
    pub fn check(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Returns the fields with their reasons as one line, for callers that get no JSON.
    #[must_use]
    pub fn sentences(&self) -> String {
        let sentences: Vec<String> =
            self.0.iter().map(|problem| format!("{} {}", problem.field, problem.reason)).collect();
        sentences.join("; ")
    }

    /// Returns the fields with their reasons.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.0
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request is not valid.
    #[error("the request is not valid")]
    Validation(ValidationError),
    /// The caller has no valid key.
    #[error("not authorized")]
    Unauthorized,
    /// The key does not have a scope.
    #[error("the key lacks the scope {missing}")]
    Forbidden {
        /// The required scope.
        missing: Scope,
    },
    /// The signature of a webhook is not from Twilio.
    #[error("the signature is not valid")]
    BadSignature(#[source] Box<dyn Error + Send + Sync>),
    /// The resource does not exist.
    #[error("{0} was not found")]
    NotFound(&'static str),
    /// The path does not support the method.
    #[error("the method is not allowed")]
    MethodNotAllowed {
        /// The methods that it supports, for the header `Allow`.
        allowed: &'static str,
    },
    /// The idempotency key was used before with another payload.
    #[error("this Idempotency-Key was used with another payload")]
    IdempotencyConflict,
    /// The recipient has opted out.
    #[error("the recipient has opted out of messages")]
    RecipientOptedOut,
    /// The state of the resource does not allow the operation.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// The request is too large.
    #[error("the request is larger than {limit} bytes")]
    PayloadTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A limit of messages is reached.
    #[error("too many messages: {0}")]
    RateLimited(Quota),
    /// An unexpected failure of this service.
    #[error("internal error")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
    /// A dependency is unavailable; the caller can retry.
    #[error("the service is temporarily unavailable; retry later")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// A part of the request was carried out before a dependency was unavailable or the time was up; the caller can
    /// repeat it.
    #[error("{done}")]
    Incomplete {
        /// What was done, and what the caller has to do.
        done: String,
        /// Why the rest was not done.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
}

impl From<ValidationError> for ApiError {
    fn from(error: ValidationError) -> Self {
        Self::Validation(error)
    }
}

impl<E: Retryable> From<E> for ApiError {
    fn from(error: E) -> Self {
        if error.is_retryable() { Self::unavailable(error) } else { Self::internal(error) }
    }
}

/// The body of every error response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorEnvelope {
    /// The error.
    pub error: ErrorBody,
}

/// Describes an error to the caller's code and to developers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// Stable error code, such as `sms.validation_error`.
    #[schema(value_type = String, pattern = r"^sms\.[a-z_]+$")]
    pub code: &'static str,
    /// Description of the error in English.
    pub message: String,
    /// All invalid fields of the request; empty for other errors.
    pub details: Vec<FieldError>,
    /// Id of the request in the service's logs. It is the caller's `x-request-id` if that is well-formed.
    pub request_id: String,
    /// Time of the response.
    pub timestamp: Timestamp,
}

impl ApiError {
    /// Wraps an unexpected failure, about which the caller can do nothing.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// Wraps a temporary failure.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(cause.into())
    }

    /// Returns the HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Validation(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } | Self::BadSignature(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::IdempotencyConflict | Self::RecipientOptedOut | Self::Conflict(_) => StatusCode::CONFLICT,
            Self::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) | Self::Incomplete { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the stable error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Validation(_) => "sms.validation_error",
            Self::Unauthorized => "sms.unauthorized",
            Self::Forbidden { .. } | Self::BadSignature(_) => "sms.forbidden",
            Self::NotFound(_) => "sms.not_found",
            Self::MethodNotAllowed { .. } => "sms.method_not_allowed",
            Self::IdempotencyConflict => "sms.idempotency_conflict",
            Self::RecipientOptedOut => "sms.recipient_opted_out",
            Self::Conflict(_) => "sms.conflict",
            Self::PayloadTooLarge { .. } => "sms.payload_too_large",
            Self::RateLimited(_) => "sms.rate_limited",
            Self::Internal(_) => "sms.internal",
            Self::Unavailable(_) | Self::Incomplete { .. } => "sms.unavailable",
        }
    }

    /// Returns the kind of error in the metric `errors`: the code without its prefix, apart from signatures.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::BadSignature(_) => "invalid_signature",
            _ => self.code().trim_start_matches("sms."),
        }
    }

    /// Logs the failure: our failures as errors, the caller's as information. It is the invocation's last line.
    pub(super) fn log(&self) {
        let (code, cause) = (self.code(), crate::error::chain(self));
        match self {
            Self::Validation(error) => {
                // Reasons may quote input, and so may the name of an unknown field.
                let fields: Vec<&str> = error.fields().iter().map(|f| loggable(&f.field)).collect();
                tracing::info!(name: telemetry::LAST_LINE, code, fields = fields.join(","), "invalid request");
            }
            Self::BadSignature(_) => {
                tracing::info!(name: telemetry::LAST_LINE, code, reason = cause, "invalid Twilio signature")
            }
            _ if self.status().is_client_error() => {
                tracing::info!(name: telemetry::LAST_LINE, code, "request rejected")
            }
            _ => tracing::error!(name: telemetry::LAST_LINE, code, error = cause, "request failed"),
        }
    }

    /// Returns the response for the caller.
    #[must_use]
    pub fn response(&self, request_id: &str, now: Timestamp) -> Response {
        let details = match self {
            Self::Validation(error) => error.fields().to_vec(),
            _ => Vec::new(),
        };
        let error = ErrorBody {
            code: self.code(),
            message: self.to_string(),
            details,
            request_id: request_id.to_owned(),
            timestamp: now,
        };
        let body = serde_json::to_string(&ErrorEnvelope { error }).unwrap_or_default();
        let mut response = super::text(self.status(), "application/json", body);
        match self {
            Self::RateLimited(quota) => {
                super::add_quota(&mut response, quota);
                response.headers_mut().insert(RETRY_AFTER, quota.reset_seconds.into());
            }
            Self::MethodNotAllowed { allowed } => {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        response
    }
}

/// Returns a field's name, or `?` if it could be a phone number or text that the caller sent as a name.
fn loggable(field: &str) -> &str {
    let is_plain = field.len() <= 40
        && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[] ".contains(&byte))
        && field.bytes().filter(u8::is_ascii_digit).count() <= 4
        && field.bytes().filter(|byte| *byte == b' ').count() <= 1;
    if is_plain { field } else { "?" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rate_limit::Limit;

    #[test]
    fn every_code_is_an_outcome_of_the_metric_errors() {
        let source = || Box::<dyn Error + Send + Sync>::from("cause");
        let errors = [
            ApiError::Validation(ValidationError::default()),
            ApiError::Unauthorized,
            ApiError::Forbidden { missing: Scope::Admin },
            ApiError::BadSignature(source()),
            ApiError::NotFound("it"),
            ApiError::MethodNotAllowed { allowed: "GET" },
            ApiError::IdempotencyConflict,
            ApiError::RecipientOptedOut,
            ApiError::Conflict("it".into()),
            ApiError::PayloadTooLarge { limit: 1 },
            ApiError::RateLimited(Quota { limit: Limit::Key(600), remaining: 0, reset_seconds: 12 }),
            ApiError::Internal(source()),
            ApiError::Unavailable(source()),
            ApiError::Incomplete { done: "half".to_owned(), cause: source() },
        ];
        for error in errors {
            assert!(telemetry::Metric::Errors.outcomes().contains(&error.outcome()), "{error:?}");
        }
    }

    #[test]
    fn the_envelope_lists_each_field_with_its_reason() {
        let mut fields = ValidationError::field("to", "is missing");
        fields.add("body", "has 1601 characters; 1600 are allowed");
        let reply = ApiError::Validation(fields).response("r-1", Timestamp::UNIX_EPOCH);
        insta::assert_snapshot!(std::str::from_utf8(reply.body()).unwrap(),
            @r#"{"error":{"code":"sms.validation_error","message":"the request is not valid","details":[{"field":"to","reason":"is missing"},{"field":"body","reason":"has 1601 characters; 1600 are allowed"}],"request_id":"r-1","timestamp":"1970-01-01T00:00:00Z"}}"#);
    }

    #[test]
    fn a_rate_limited_response_has_the_headers_of_its_limit() {
        for (limit, policy, state, message) in [
            (
                Limit::Key(600),
                "\"key\";q=600;w=60",
                "\"key\";r=7;t=12",
                "too many messages: 600 per minute are allowed for an API key",
            ),
            (
                Limit::Recipient(5),
                "\"recipient\";q=5;w=86400",
                "\"recipient\";r=7;t=12",
                "too many messages: 5 in 24 hours are allowed to one recipient",
            ),
        ] {
            let error = ApiError::RateLimited(Quota { limit, remaining: 7, reset_seconds: 12 });
            assert_eq!(error.to_string(), message);
            let reply = error.response("r-1", Timestamp::UNIX_EPOCH);
            assert_eq!(reply.status(), 429);
            assert_eq!(reply.headers()["retry-after"], "12");
            assert_eq!(reply.headers()["ratelimit-policy"], policy);
            assert_eq!(reply.headers()["ratelimit"], state);
        }
    }

    #[test]
    fn a_refused_method_comes_with_those_that_are_allowed() {
        let reply =
            ApiError::MethodNotAllowed { allowed: "GET, POST" }.response("r-1", Timestamp::UNIX_EPOCH);
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["allow"]),
            (405, &HeaderValue::from_static("GET, POST"))
        );
    }

    #[test]
    fn an_unknown_field_name_that_may_be_content_is_not_logged() {
        for shown in ["to", "media_urls[9]", "request body", "MessageSid", "Idempotency-Key"] {
            assert_eq!(loggable(shown), shown);
        }
        for hidden in ["+12035550100", "12035550100", "your rent is due", "ação", &"x".repeat(41)] {
            assert_eq!(loggable(hidden), "?");
        }
    }
}
