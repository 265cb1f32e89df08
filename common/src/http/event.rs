//! Converts an event of API Gateway or of a function URL (both payload format 2.0) into a `lambda_http` request.
//!
//! `lambda_http` builds a URI from the path, the query and the `Host` header. That changes characters, and it panics if
//! the result is not a valid URI. Twilio's signature covers the exact URL, and a request must not fail an invocation.
//! So the path, the query, the headers and the body bypass that step; see
//! `common/docs/decisions/0015-lambda-http-without-its-uri.md`.

use super::payload::WHOLE;
use super::{ApiError, Caller, MAX_BODY_BYTES, Principal, Scope, ValidationError};
use crate::clock;
use crate::telemetry::traces::{ServerSpan, TRACEPARENT, TRACESTATE, TraceContext};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, Method};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::request::LambdaRequest;
use lambda_http::{Body, Request, RequestExt};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::mem;

/// The query string as the gateway received it.
#[derive(Clone)]
struct RawQuery(String);

/// The domain name of the endpoint that received the request.
#[derive(Clone)]
struct DomainName(String);

/// The id that follows the request through logs and queues.
#[derive(Clone)]
struct RequestId(String);

/// Reads an event. `null` counts as absent: AWS omits empty values, other gateways write `null`.
///
/// # Errors
///
/// [`ApiError::Validation`] when it is not an event of payload format 2.0.
pub(super) fn read(event: &str) -> Result<ApiGatewayV2httpRequest, ApiError> {
    let repaired = || {
        let mut event: Value = serde_json::from_str(event)?;
        repair(&mut event);
        serde_json::from_value(event)
    };
    serde_json::from_str(event).or_else(|_| repaired()).map_err(|error| {
        // The message of a serde error may quote content. Its position does not.
        tracing::info!(line = error.line(), column = error.column(), "malformed HTTP event");
        ValidationError::field("event", "is not an HTTP request in payload format 2.0").into()
    })
}

/// Removes what `lambda_http` does not accept: null values, and control characters in headers.
fn repair(event: &mut Value) {
    remove_nulls(event);
    let Some(headers) = event.get_mut("headers").and_then(Value::as_object_mut) else { return };
    headers.retain(|name, _| HeaderName::from_bytes(name.as_bytes()).is_ok());
    for value in headers.values_mut() {
        if let Value::String(text) = value {
            // Replaced and not removed, so that a header with a wrong value is still refused where it is read.
            *text = text.replace(|c: char| c.is_ascii_control() && c != '\t', "\u{fffd}");
        }
    }
}

fn remove_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(remove_nulls);
    }
}

/// Returns the caller's `x-request-id` if it is 1 to 128 letters, digits and `._-`, else the gateway's id, else a new
/// one. Other values could forge log lines or make them very long.
pub(super) fn request_id(event: &ApiGatewayV2httpRequest) -> String {
    let is_well_formed = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let given = event.headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(is_well_formed);
    let gateway = event.request_context.request_id.as_deref().filter(|id| !id.is_empty());
    given.or(gateway).map_or_else(|| clock::new_id().to_string(), str::to_owned)
}

pub(super) fn is_head(event: &ApiGatewayV2httpRequest) -> bool {
    event.request_context.http.method == Method::HEAD
}

/// The route of all requests to a function URL.
const NO_ROUTE: &str = "$default";

/// Returns the span of a request. That of a route of the gateway is started, and continues the caller's trace if the
/// authorizer has accepted the caller's key. That of a function URL is started later or at the end.
pub(super) fn server_span(event: &ApiGatewayV2httpRequest) -> ServerSpan {
    let route_key = event.route_key.as_deref().filter(|key| *key != NO_ROUTE);
    let route = route_key.and_then(|key| key.split_once(' ')).map(|(_, route)| route);
    let span = ServerSpan::new(event.request_context.http.method.as_str(), route);
    if route.is_some() {
        let header = |name| event.headers.get(name).and_then(|value| value.to_str().ok());
        let is_authorized = event.request_context.authorizer.is_some();
        let parent = header(TRACEPARENT).filter(|_| is_authorized);
        span.start(parent.and_then(|parent| TraceContext::parse(parent, header(TRACESTATE))).as_ref());
    }
    span
}

/// Converts an event.
///
/// # Errors
///
/// [`ApiError::Validation`] when the body is not the base64 that the event announces.
pub(super) fn into_request(
    mut event: ApiGatewayV2httpRequest,
    request_id: String,
    trace: ServerSpan,
) -> Result<Request, ApiError> {
    let body = match event.body.take() {
        Some(text) if event.is_base64_encoded => Body::Binary(
            STANDARD
                .decode(text)
                .map_err(|error| ValidationError::field("body", format!("is not base64: {error}")))?,
        ),
        Some(text) => Body::Text(text),
        None => Body::Empty,
    };
    let raw_path = event.raw_path.take().unwrap_or_default();
    let raw_query = event.raw_query_string.take().unwrap_or_default();
    let headers = mem::take(&mut event.headers);
    let domain_name = event.request_context.domain_name.take();
    event.request_context.stage = None;
    let mut request = Request::from(LambdaRequest::ApiGatewayV2(event)).with_raw_http_path(raw_path);
    *request.headers_mut() = headers;
    *request.body_mut() = body;
    request.extensions_mut().insert(RawQuery(raw_query));
    request.extensions_mut().insert(RequestId(request_id));
    if let Some(domain_name) = domain_name {
        request.extensions_mut().insert(DomainName(domain_name));
    }
    request.extensions_mut().insert(trace);
    Ok(request)
}

/// Reads from a request what `lambda_http` does not offer, or offers only after a conversion.
///
/// `Request::uri` is always `/`: use `raw_http_path` and [`HttpRequestExt::raw_query`].
pub trait HttpRequestExt {
    /// Returns the query string exactly as the gateway received it, without its `?`.
    fn raw_query(&self) -> &str;

    /// Returns the query parameters, decoded, in their order.
    fn query(&self) -> impl Iterator<Item = (String, String)>;

    /// Returns the value of a header if it is UTF-8.
    fn header(&self, name: &str) -> Option<&str>;

    /// Returns the domain name of the endpoint that received the request, from the event's context. For a function URL
    /// it is the URL's own name, which AWS sets; the client's `Host` header does not change it.
    fn domain_name(&self) -> Option<&str>;

    /// Returns a parameter of the route's path, decoded.
    ///
    /// # Errors
    ///
    /// [`ApiError::Internal`] when the route has no such parameter: template and function disagree.
    fn path_parameter(&self, name: &'static str) -> Result<&str, ApiError>;

    /// Returns the `phone_number` of the route's path. Phone numbers contain no percent sign, so a number that was
    /// encoded twice is decoded twice.
    ///
    /// # Errors
    ///
    /// [`ApiError::Validation`] when it contains a NUL character, which Postgres cannot store.
    fn phone_number(&self) -> Result<String, ApiError>;

    /// Returns the body if it is within the API's limit and not compressed.
    ///
    /// # Errors
    ///
    /// [`ApiError::PayloadTooLarge`] or [`ApiError::Validation`] otherwise.
    fn payload(&self) -> Result<&[u8], ApiError> {
        self.payload_up_to(MAX_BODY_BYTES)
    }

    /// Returns the body like [`HttpRequestExt::payload`], with another limit in bytes.
    ///
    /// # Errors
    ///
    /// [`ApiError::PayloadTooLarge`] or [`ApiError::Validation`] otherwise.
    fn payload_up_to(&self, limit: usize) -> Result<&[u8], ApiError>;

    /// Returns the id that follows this request through logs and queues.
    fn request_id(&self) -> &str;

    /// Returns the span of this request.
    fn trace(&self) -> ServerSpan;

    /// Returns what the authorizer passed on about the caller; `None` on a route without an authorizer.
    fn caller(&self) -> Option<Caller>;

    /// Returns whether the authorizer could not read the keys, so that the endpoint has to verify the key itself.
    fn is_unverified(&self) -> bool {
        matches!(self.caller(), Some(Caller::Unverified { .. }))
    }

    /// Returns the caller if its key has the scope.
    ///
    /// # Errors
    ///
    /// [`ApiError::Forbidden`] when the key lacks the scope; [`ApiError::Unavailable`] when the authorizer could not
    /// read the keys; [`ApiError::Unauthorized`] on a route without an authorizer.
    fn authorize(&self, scope: Scope) -> Result<Principal, ApiError> {
        match self.caller().ok_or(ApiError::Unauthorized)? {
            Caller::Known(principal) => principal.may(scope).map(|()| principal),
            Caller::Unverified { .. } => Err(ApiError::unavailable("the authorizer could not read the keys")),
        }
    }
}

impl HttpRequestExt for Request {
    fn raw_query(&self) -> &str {
        self.extensions().get::<RawQuery>().map_or("", |RawQuery(query)| query)
    }

    fn query(&self) -> impl Iterator<Item = (String, String)> {
        form_urlencoded::parse(self.raw_query().as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned()))
    }

    fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.headers().get(name)?.as_bytes()).ok()
    }

    fn domain_name(&self) -> Option<&str> {
        let DomainName(name) = self.extensions().get()?;
        Some(name).filter(|name| !name.is_empty()).map(String::as_str)
    }

    fn path_parameter(&self, name: &'static str) -> Result<&str, ApiError> {
        self.path_parameters_ref()
            .and_then(|parameters| parameters.first(name))
            .ok_or_else(|| ApiError::internal(format!("no path parameter {name}")))
    }

    fn phone_number(&self) -> Result<String, ApiError> {
        let given = self.path_parameter("phone_number")?;
        let number = percent_decode_str(given).decode_utf8_lossy().into_owned();
        if number.contains('\0') {
            return Err(ValidationError::field("phone_number", "contains a NUL character").into());
        }
        Ok(number)
    }

    fn payload_up_to(&self, limit: usize) -> Result<&[u8], ApiError> {
        if self.body().len() > limit {
            return Err(ApiError::PayloadTooLarge { limit });
        }
        // Other values are ignored, such as the wrong but common `utf-8`.
        let codings = self.header("content-encoding").unwrap_or_default().split(',');
        for coding in codings.map(|coding| coding.trim().to_ascii_lowercase()) {
            if ["gzip", "x-gzip", "deflate", "compress", "br", "zstd"].contains(&coding.as_str()) {
                let reason = format!("is compressed ({coding}); send it without a Content-Encoding");
                return Err(ValidationError::field(WHOLE, reason).into());
            }
        }
        Ok(self.body())
    }

    fn request_id(&self) -> &str {
        self.extensions().get::<RequestId>().map_or("", |RequestId(id)| id)
    }

    fn trace(&self) -> ServerSpan {
        self.extensions().get().cloned().unwrap_or_else(|| ServerSpan::new("", None))
    }

    fn caller(&self) -> Option<Caller> {
        let fields = &self.request_context_ref()?.authorizer()?.fields;
        let fields = fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        serde_json::from_value(Value::Object(fields)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn convert(raw_path: &str, raw_query: &str, host: &str) -> Request {
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": raw_path, "rawQueryString": raw_query,
            "headers": {"host": host, "x-forwarded-proto": "https"}, "isBase64Encoded": false,
            "requestContext": {
                "requestId": "gw-1", "stage": "$default", "domainName": host,
                "http": {"method": "POST", "path": raw_path},
            },
        });
        let event = read(&event.to_string()).unwrap();
        let trace = server_span(&event);
        into_request(event, "r-1".to_owned(), trace).unwrap()
    }

    #[test]
    fn paths_and_queries_that_a_url_parser_would_change_stay_as_they_are() {
        for path in
            ["", "/", "//a", "/a/../b", "/./a", "/a b", "/%2e%2E/x", "/%zz", "/é", "/a\\b", "/a?b#c", "a"]
        {
            for query in ["", "&", "=", "a=b&a=c", "x=%20+%2B", "q=é#f", "a=1?b", "%", "a&&b=", "a b"] {
                let request = convert(path, query, "sms.example.com");
                assert_eq!((request.raw_http_path(), request.raw_query()), (path, query));
            }
        }
    }

    proptest! {
        #[test]
        fn no_character_of_a_url_changes(path in "(/|%|\\PC|[a-z.]){0,40}", query in ".{0,60}", host in "\\PC{0,20}") {
            let request = convert(&path, &query, &host);
            prop_assert_eq!(request.raw_http_path(), path);
            prop_assert_eq!(request.raw_query(), query);
        }
    }
}
