//! The one error envelope of the API, and what is told to whom: the caller gets a code and a sentence, the log
//! gets the cause.

use super::{Reply, Scope};
use crate::error::MayPass;
use crate::telemetry;
use jiff::Timestamp;
use serde::Serialize;
use std::error::Error;
use std::time::Duration;
use utoipa::ToSchema;

/// A field of a request that can't be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's name, as the caller wrote it.
    pub field: String,
    /// What is wrong with it, as the end of a sentence that begins with the field.
    pub reason: String,
}

/// Everything that is wrong with a request, gathered before it is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValidationError(Vec<FieldError>);

impl ValidationError {
    /// Begins with one field.
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

    /// Adds a field unless something else is wrong with it already.
    pub fn add_once(&mut self, field: &str, reason: impl Into<String>) {
        if !self.0.iter().any(|known| known.field == field) {
            self.add(field, reason);
        }
    }

    /// Tells whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns an error if anything was added.
    ///
    /// # Errors
    ///
    /// `self`, when it names at least one field.
    pub fn check(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Returns what is wrong, field by field.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.0
    }
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request can't be taken as it is.
    #[error("the request is not valid")]
    Validation(ValidationError),
    /// The webhook or the call isn't genuine.
    #[error("not authorized")]
    Unauthorized,
    /// The key lacks a scope.
    #[error("the key lacks the scope {missing}")]
    Forbidden {
        /// The scope that is needed.
        missing: Scope,
    },
    /// A webhook's signature isn't Twilio's.
    #[error("the signature is not valid")]
    BadSignature(#[source] Box<dyn Error + Send + Sync>),
    /// What was asked for isn't there.
    #[error("{0} was not found")]
    NotFound(&'static str),
    /// The method isn't one that this address takes.
    #[error("the method is not allowed")]
    MethodNotAllowed,
    /// The same idempotency key came with another payload.
    #[error("this Idempotency-Key was used with another payload")]
    IdempotencyConflict,
    /// The recipient has opted out.
    #[error("the recipient has opted out of messages")]
    RecipientOptedOut,
    /// The state of things doesn't allow it.
    #[error("{0}")]
    Conflict(&'static str),
    /// The request is too large.
    #[error("the request is larger than {limit} bytes")]
    PayloadTooLarge {
        /// How many bytes are taken.
        limit: usize,
    },
    /// The caller asks too often.
    #[error("too many requests")]
    RateLimited {
        /// When to come back.
        retry_after: Duration,
    },
    /// Something of ours is broken.
    #[error("something went wrong on our side")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
    /// A peer that we need answered wrongly.
    #[error("a service that this one needs failed")]
    ExternalFailed(#[source] Box<dyn Error + Send + Sync>),
    /// Something that we need is away for now.
    #[error("the service is not available at the moment; try again")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl From<ValidationError> for ApiError {
    fn from(error: ValidationError) -> Self {
        Self::Validation(error)
    }
}

impl<E: MayPass> From<E> for ApiError {
    fn from(error: E) -> Self {
        if error.may_pass() { Self::unavailable(error) } else { Self::internal(error) }
    }
}

/// What every refused or failed call is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorEnvelope {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong, for the caller's code, for its developer, and for ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// The code that callers can rely on, such as `sms.validation_error`.
    #[schema(value_type = String, pattern = r"^sms\.[a-z_]+$")]
    pub code: &'static str,
    /// A sentence.
    pub message: String,
    /// Every field at fault, when the request is not valid; else empty.
    pub details: Vec<FieldError>,
    /// The id that this request has in our logs: the caller's `x-request-id`, if it sent a well-formed one.
    pub request_id: String,
    /// When it was answered.
    pub timestamp: Timestamp,
}

impl ApiError {
    /// Wraps a cause that is our fault and that no caller can act on.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// Wraps a cause that may be gone in a moment.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(cause.into())
    }

    /// Returns the HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Validation(_) => 400,
            Self::Unauthorized => 401,
            Self::Forbidden { .. } | Self::BadSignature(_) => 403,
            Self::NotFound(_) => 404,
            Self::MethodNotAllowed => 405,
            Self::IdempotencyConflict | Self::RecipientOptedOut | Self::Conflict(_) => 409,
            Self::PayloadTooLarge { .. } => 413,
            Self::RateLimited { .. } => 429,
            Self::Internal(_) => 500,
            Self::ExternalFailed(_) => 502,
            Self::Unavailable(_) => 503,
        }
    }

    /// Returns the code that callers can rely on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Validation(_) => "sms.validation_error",
            Self::Unauthorized => "sms.unauthorized",
            Self::Forbidden { .. } | Self::BadSignature(_) => "sms.forbidden",
            Self::NotFound(_) => "sms.not_found",
            Self::MethodNotAllowed => "sms.method_not_allowed",
            Self::IdempotencyConflict => "sms.idempotency_conflict",
            Self::RecipientOptedOut => "sms.recipient_opted_out",
            Self::Conflict(_) => "sms.conflict",
            Self::PayloadTooLarge { .. } => "sms.payload_too_large",
            Self::RateLimited { .. } => "sms.rate_limited",
            Self::Internal(_) => "sms.internal",
            Self::ExternalFailed(_) => "sms.external_failed",
            Self::Unavailable(_) => "sms.unavailable",
        }
    }

    /// Writes the failure to the log, once, where it is handled: ours as errors, the caller's as information. It is the
    /// invocation's last line.
    pub(super) fn log(&self) {
        let (code, cause) = (self.code(), crate::error::chain(self));
        match self {
            Self::Validation(error) => {
                // Reasons may quote input, and so may the name of a field that nobody knows.
                let fields: Vec<&str> = error.fields().iter().map(|f| loggable(&f.field)).collect();
                tracing::info!(name: telemetry::LAST_LINE, code, fields = fields.join(","), "refused");
            }
            Self::BadSignature(_) => {
                tracing::info!(name: telemetry::LAST_LINE, code, reason = cause, "refused")
            }
            _ if self.status() < 500 => tracing::info!(name: telemetry::LAST_LINE, code, "refused"),
            _ => tracing::error!(name: telemetry::LAST_LINE, code, error = cause, "failed"),
        }
    }

    /// Returns the answer for the caller.
    #[must_use]
    pub fn reply(&self, request_id: &str, now: Timestamp) -> Reply {
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
        let reply = Reply::new(self.status(), "application/json", body);
        match self {
            Self::RateLimited { retry_after } => {
                reply.with_header("retry-after", retry_after.as_secs().max(1).to_string())
            }
            _ => reply,
        }
    }
}

/// Returns a field's name if it can't be a number or a text that was put in a name's place.
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

    #[test]
    fn the_envelope_names_each_field_with_its_reason() {
        let mut fields = ValidationError::field("to", "is missing");
        fields.add("body", "has 1601 characters; 1600 are allowed");
        let reply = ApiError::Validation(fields).reply("r-1", Timestamp::UNIX_EPOCH);
        insta::assert_snapshot!(reply.body(), @r#"{"error":{"code":"sms.validation_error","message":"the request is not valid","details":[{"field":"to","reason":"is missing"},{"field":"body","reason":"has 1601 characters; 1600 are allowed"}],"request_id":"r-1","timestamp":"1970-01-01T00:00:00Z"}}"#);
    }

    #[test]
    fn a_field_of_the_callers_making_is_not_logged_when_it_may_be_content() {
        for shown in ["to", "media_urls[9]", "request body", "MessageSid", "Idempotency-Key"] {
            assert_eq!(loggable(shown), shown);
        }
        for hidden in ["+12035550100", "12035550100", "your rent is due", "ação", &"x".repeat(41)] {
            assert_eq!(loggable(hidden), "?");
        }
    }

    #[test]
    fn rate_limited_answers_say_when_to_come_back() {
        let error = ApiError::RateLimited { retry_after: Duration::from_millis(10) };
        let reply = serde_json::to_value(error.reply("r", Timestamp::UNIX_EPOCH)).unwrap();
        assert_eq!(reply["headers"]["retry-after"], "1");
    }
}
