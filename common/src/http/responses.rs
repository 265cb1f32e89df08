//! OpenAPI descriptions of the error responses that several endpoints share.
//!
//! Status and code come from [`ApiError`], so that the document cannot differ from the responses. Endpoints list the
//! types in `responses(…)` of their `utoipa::path`.

use super::{ApiError, Scope, ValidationError};
use crate::domain::rate_limit::{Limit, Quota};
use std::collections::BTreeMap;
use utoipa::IntoResponses;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

macro_rules! error_responses {
    ($($(#[$doc:meta])* $name:ident: $error:expr, $reason:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                describe(&$error, $reason)
            }
        }
    )*};
}

error_responses! {
    /// 400: the request is not valid.
    InvalidRequest: ApiError::Validation(ValidationError::default()), "`details` lists all invalid fields.";
    /// 401: neither a valid key nor a valid token, at a function URL. The gateway has its own response.
    NotAuthorized: ApiError::Unauthorized, "no key or token, or one that is not valid.";
    /// 403: the key lacks the scope of the operation.
    MissingScope: ApiError::Forbidden { missing: Scope::Admin }, "the key lacks the scope.";
    /// 403: the signature is not valid.
    InvalidSignature: ApiError::BadSignature("".into()), "the signature is not valid.";
    /// 404: the resource does not exist.
    NotFound: ApiError::NotFound(""), "the resource does not exist, or belongs to another key.";
    /// 409: the state of the message does not allow the operation.
    Conflict: ApiError::Conflict("".into()), "the message is being sent, was sent, or has a final status.";
    /// 413: the body is too large.
    PayloadTooLarge: ApiError::PayloadTooLarge { limit: 0 }, "the body exceeds 256 KiB (webhooks: 64 KiB).";
    /// 503: a dependency is unavailable.
    Unavailable: ApiError::unavailable(""), "nothing was changed; retry later.";
}

/// 429: a limit of messages is reached.
#[derive(Debug)]
pub struct RateLimited;

impl IntoResponses for RateLimited {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let quota = Quota { limit: Limit::Key(0), remaining: 0, reset_seconds: 0 };
        let reason =
            "too many messages of the key in a minute, or to the recipient in 24 hours; nothing was stored.";
        let mut described = describe(&ApiError::RateLimited(quota), reason);
        for response in described.values_mut() {
            let RefOr::T(response) = response else { continue };
            for (name, of, description) in [
                ("Retry-After", Type::Integer, "Seconds until the request can succeed."),
                ("RateLimit", Type::String, "The messages that are left, and the seconds of `Retry-After`."),
                ("RateLimit-Policy", Type::String, "The limit, its messages, and its window in seconds."),
            ] {
                response.headers.insert(name.to_owned(), RefOr::T(header(of, description)));
            }
        }
        described
    }
}

fn header(of: Type, description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(of).build();
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}

fn describe(error: &ApiError, reason: &str) -> BTreeMap<String, RefOr<Response>> {
    let schema = Ref::from_schema_name("ErrorEnvelope");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description(format!("`{}`: {reason}", error.code()))
        .content("application/json", content)
        .build();
    BTreeMap::from([(error.status().as_u16().to_string(), RefOr::T(response))])
}
