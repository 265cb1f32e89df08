//! A request as API Gateway's payload format 2.0 describes it; Lambda function URLs use the same format.
//!
//! Only what we read is declared: this is parsed for every webhook.
//! Format: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>.

use super::payload::WHOLE;
use super::{ApiError, Caller, MAX_BODY_BYTES, Principal, Scope, ValidationError};
use crate::clock;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The event of one HTTP request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpEvent {
    #[serde(default, deserialize_with = "null_as_default")]
    raw_path: String,
    #[serde(default, deserialize_with = "null_as_default")]
    raw_query_string: String,
    #[serde(default, deserialize_with = "null_as_default")]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    is_base64_encoded: bool,
    #[serde(default, deserialize_with = "null_as_default")]
    path_parameters: BTreeMap<String, String>,
    request_context: RequestContext,
}

/// Reads `null` like an absent value: AWS leaves out what is empty, other gateways write `null`.
///
/// # Errors
///
/// When the value is neither null nor a `T`.
pub fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    #[serde(default, deserialize_with = "null_as_default")]
    request_id: String,
    http: HttpDescription,
    authorizer: Option<Authorizer>,
}

#[derive(Debug, Clone, Deserialize)]
struct HttpDescription {
    method: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Authorizer {
    lambda: Option<Caller>,
}

impl HttpEvent {
    /// Returns the caller's `x-request-id` if it is 1 to 128 letters, digits and `._-`, else the gateway's own id, else a
    /// new one.
    ///
    /// Anything else could forge log lines or grow them without limit.
    #[must_use]
    pub fn request_id(&self) -> String {
        let well_formed = |id: &&String| {
            (1..=128).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let given = self.headers.get("x-request-id").filter(well_formed);
        let own = Some(&self.request_context.request_id).filter(|id| !id.is_empty());
        given.or(own).cloned().unwrap_or_else(|| clock::new_id().to_string())
    }
}

impl HttpEvent {
    pub(super) fn is_head(&self) -> bool {
        self.request_context.http.method == "HEAD"
    }
}

/// A request with its body decoded.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    raw_path: String,
    raw_query: String,
    headers: BTreeMap<String, String>,
    path_parameters: BTreeMap<String, String>,
    body: Vec<u8>,
    request_id: String,
    caller: Option<Caller>,
}

impl Request {
    /// Decodes an event.
    ///
    /// # Errors
    ///
    /// [`ApiError::Validation`] when the body isn't the base64 that the event says it is.
    pub(super) fn from_event(event: HttpEvent, request_id: String) -> Result<Self, ApiError> {
        let body = match event.body {
            Some(text) if event.is_base64_encoded => STANDARD
                .decode(text)
                .map_err(|error| ValidationError::field("body", format!("is not base64: {error}")))?,
            Some(text) => text.into_bytes(),
            None => Vec::new(),
        };
        Ok(Self {
            method: event.request_context.http.method,
            raw_path: event.raw_path,
            raw_query: event.raw_query_string,
            headers: event.headers,
            path_parameters: event.path_parameters,
            body,
            request_id,
            caller: event.request_context.authorizer.and_then(|authorizer| authorizer.lambda),
        })
    }

    /// Returns the method, in capitals.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the path exactly as the gateway received it.
    #[must_use]
    pub fn raw_path(&self) -> &str {
        &self.raw_path
    }

    /// Returns the query string exactly as the gateway received it, without its `?`.
    #[must_use]
    pub fn raw_query(&self) -> &str {
        &self.raw_query
    }

    /// Returns the value of a header, whose name must be given in lower case, as AWS hands them over.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Returns a parameter of the route's path, decoded.
    ///
    /// # Errors
    ///
    /// [`ApiError::Internal`] when the route has no such parameter: the template and the function disagree.
    pub fn path_parameter(&self, name: &'static str) -> Result<&str, ApiError> {
        self.path_parameters
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| ApiError::internal(std::io::Error::other(format!("no path parameter {name}"))))
    }

    /// Returns the `phone_number` of the route's path. No number has a percent sign, so one that was encoded twice is
    /// decoded twice.
    ///
    /// # Errors
    ///
    /// [`ApiError::Validation`] when it holds a NUL, which Postgres does not take.
    pub fn phone_number(&self) -> Result<String, ApiError> {
        let given = self.path_parameter("phone_number")?;
        let number = percent_decode_str(given).decode_utf8_lossy().into_owned();
        if number.contains('\0') {
            return Err(ValidationError::field("phone_number", "contains a NUL character").into());
        }
        Ok(number)
    }

    /// Returns the first value of each query parameter, decoded, in order of appearance.
    pub fn query(&self) -> impl Iterator<Item = (String, String)> + '_ {
        form_urlencoded::parse(self.raw_query.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned()))
    }

    /// Returns the body's bytes.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the body's bytes, if they are not more than the API takes and not compressed.
    ///
    /// # Errors
    ///
    /// [`ApiError::PayloadTooLarge`] or [`ApiError::Validation`] otherwise.
    pub fn payload(&self) -> Result<&[u8], ApiError> {
        if self.body.len() > MAX_BODY_BYTES {
            return Err(ApiError::PayloadTooLarge { limit: MAX_BODY_BYTES });
        }
        // Other values, such as the wrong but common `utf-8`, change nothing.
        let codings = self.header("content-encoding").unwrap_or_default().split(',');
        for coding in codings.map(|coding| coding.trim().to_ascii_lowercase()) {
            if ["gzip", "x-gzip", "deflate", "compress", "br", "zstd"].contains(&coding.as_str()) {
                let reason = format!("is compressed ({coding}); send it without a Content-Encoding");
                return Err(ValidationError::field(WHOLE, reason).into());
            }
        }
        Ok(&self.body)
    }

    /// Returns the id that follows this request through logs and queues.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Tells whether the authorizer could not read the keys, so that somebody else has to ask whose this caller's is.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        matches!(self.caller, Some(Caller::Unverified { .. }))
    }

    /// Returns the caller, if its key carries the scope.
    ///
    /// # Errors
    ///
    /// [`ApiError::Forbidden`] when the key lacks the scope; [`ApiError::Unavailable`] when the authorizer could not
    /// read the keys; [`ApiError::Unauthorized`] when no authorizer spoke for the caller, which only a route without
    /// one can bring about.
    pub fn authorize(&self, scope: Scope) -> Result<&Principal, ApiError> {
        match self.caller.as_ref().ok_or(ApiError::Unauthorized)? {
            Caller::Known(principal) => principal.may(scope).map(|()| principal),
            Caller::Unverified { .. } => Err(ApiError::unavailable("the authorizer could not read the keys")),
        }
    }
}
