//! Responses, and their form for API Gateway and function URLs.

use super::{ApiError, Response};
use crate::domain::rate_limit::Quota;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use serde::Serialize;

/// Returns a response with a text of a media type.
#[must_use]
pub fn text(status: StatusCode, content_type: &'static str, body: impl Into<String>) -> Response {
    let mut response = empty(status);
    *response.body_mut() = Body::Text(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns a response with a binary body.
#[must_use]
pub fn binary(status: StatusCode, content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
    let mut response = text(status, content_type, "");
    *response.body_mut() = Body::Binary(body.into());
    response
}

/// Returns a response with a value as JSON.
///
/// # Errors
///
/// [`ApiError::Internal`] when the value cannot be written as JSON, such as a map whose keys are not strings.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_string(value).map_err(ApiError::internal)?;
    Ok(text(status, "application/json", body))
}

/// Returns a redirect to a URL that only the caller may see.
///
/// # Errors
///
/// [`ApiError::Internal`] when the URL cannot be the value of a header.
pub fn redirect(url: &str) -> Result<Response, ApiError> {
    let mut response = empty(StatusCode::FOUND);
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::try_from(url).map_err(ApiError::internal)?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns a response with neither headers nor a body.
#[must_use]
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(empty_body());
    *response.status_mut() = status;
    response
}

/// Adds the headers `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) to a response.
pub fn add_quota(response: &mut Response, quota: &Quota) {
    for (name, value) in [("ratelimit", quota.state()), ("ratelimit-policy", quota.policy())] {
        // Always valid: ASCII.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
}

pub(super) fn empty_body() -> Body {
    Body::Text(String::new())
}

/// Converts a response to payload format 2.0. `lambda_http` keeps its own conversion private.
pub(super) fn encode(response: Response) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut encoded = ApiGatewayV2httpResponse::default();
    encoded.status_code = i64::from(parts.status.as_u16());
    encoded.headers = parts.headers;
    encoded.is_base64_encoded = matches!(body, Body::Binary(_));
    encoded.body = Some(body);
    encoded
}
