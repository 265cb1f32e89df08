//! Converts a function's output (payload format 2.0) to an HTTP response.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use futures::StreamExt;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::lambda::{CutOff, MAX_PAYLOAD_BYTES, StreamBody};

/// Separates the status and headers of a streamed response, as JSON, from its body.
const DELIMITER: [u8; 8] = [0; 8];
/// The maximum size of the status and headers of a streamed response.
const MAX_PRELUDE_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Structured {
    status_code: Value,
    #[serde(default)]
    headers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// Converts a function's output. Returns `None` if AWS could not: an invalid status, header or base64.
///
/// An output without `statusCode` becomes the JSON body of a 200 response.
pub(super) fn from_function(output: &[u8], request_id: &str) -> Option<Response> {
    let value: Value = serde_json::from_slice(output).ok()?;
    if value.get("statusCode").is_none() {
        let body = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return Some(([("content-type", "application/json")], body).into_response());
    }
    let structured: Structured = serde_json::from_value(value).ok()?;
    let code = structured.status_code.as_u64().or_else(|| structured.status_code.as_str()?.parse().ok())?;
    let body = structured.body.unwrap_or_default();
    let body = if structured.is_base64_encoded { STANDARD.decode(body).ok()? } else { body.into_bytes() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(u16::try_from(code).ok()?).ok()?;
    let headers = response.headers_mut();
    let single = structured.headers.unwrap_or_default().into_iter().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name, vec![value])
    });
    for (name, values) in single.chain(structured.multi_value_headers.unwrap_or_default()) {
        let name = HeaderName::try_from(name).ok()?;
        // The gateway sets the length itself because it may have decoded base64.
        if name == http::header::CONTENT_LENGTH || name == http::header::TRANSFER_ENCODING {
            continue;
        }
        headers.remove(&name);
        for value in values {
            headers.append(&name, HeaderValue::try_from(value).ok()?);
        }
    }
    for cookie in structured.cookies.unwrap_or_default() {
        headers.append(http::header::SET_COOKIE, HeaderValue::try_from(cookie).ok()?);
    }
    if !headers.contains_key(http::header::CONTENT_TYPE) {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=UTF-8"));
    }
    headers.insert("apigw-requestid", HeaderValue::try_from(request_id).ok()?);
    Some(response)
}

/// Converts a streamed output: its status and headers, and the body as the function writes it. Returns `None` if AWS
/// could not.
///
/// If the function fails before the end, the body ends with an error, so that the connection is closed.
pub(super) async fn from_stream(mut output: StreamBody, request_id: &str) -> Option<Response> {
    let mut prelude = BytesMut::new();
    let end = loop {
        if let Some(end) = prelude.windows(DELIMITER.len()).position(|window| window == DELIMITER) {
            break end;
        }
        let chunk = output.next().await.ok()?.filter(|_| prelude.len() < MAX_PRELUDE_BYTES)?;
        prelude.extend_from_slice(&chunk);
    };
    let begun = prelude.split_off(end + DELIMITER.len()).freeze();
    let mut response = from_function(prelude.get(..end)?, request_id)?;
    let begun = futures::stream::iter((!begun.is_empty()).then_some(Ok(begun)));
    let rest = futures::stream::try_unfold(output, async |mut output| {
        Ok::<_, CutOff>(output.next().await?.map(|chunk| (chunk, output)))
    });
    *response.body_mut() = Body::from_stream(begun.chain(rest));
    Some(response)
}

/// Waits for the end of a response. Returns `None` if the function fails before it, or if it is too large.
pub(super) async fn buffered(response: Option<Response>) -> Option<Response> {
    let (parts, body) = response?.into_parts();
    let body = axum::body::to_bytes(body, MAX_PAYLOAD_BYTES).await.ok()?;
    Some(Response::from_parts(parts, body.into()))
}

/// Returns an error response of the HTTP API itself.
pub(super) fn api_error(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "message": message }))).into_response()
}

/// Returns an error response of a function URL, which spells `Message` with a capital letter.
pub(super) fn function_url_error(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "Message": message }))).into_response()
}
