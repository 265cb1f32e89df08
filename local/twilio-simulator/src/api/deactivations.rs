//! `GET /v1/Deactivations` of the messaging API, and the files to which it redirects.
//!
//! <https://www.twilio.com/docs/messaging/api/deactivations-resource>

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use jiff::civil::Date;
use serde_json::json;

use crate::api::auth::caller;
use crate::api::error::ApiError;
use crate::api::form::Form;
use crate::delivery::engine::Engine;

type Shared = State<Arc<Engine>>;

/// The path of the files, which stands for a storage service.
const FILES: &str = "/deactivation-files";
/// The query of a file's URL, which stands for the signature of a storage service.
const SIGNATURE: &str = "X-Amz-Signature=simulated";

/// Returns the routes of the resource and its files.
pub(crate) fn routes() -> Router<Arc<Engine>> {
    Router::new().route("/v1/Deactivations", get(fetch)).route(&format!("{FILES}/{{file}}"), get(file))
}

/// Redirects to the list of a day.
async fn fetch(
    State(engine): Shared,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller(&engine, &headers, &engine.config.account_sid)?;
    let query = Form::parse(query.unwrap_or_default().as_bytes());
    let date = query.get("Date").unwrap_or_default();
    let day: Date = date.parse().map_err(|_| ApiError::with(20001, format!("Date {date} is not a date")))?;
    if engine.deactivations(day).is_none() {
        return Err(ApiError::not_found(&format!("/v1/Deactivations?Date={day}")));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let url = format!("http://{host}{FILES}/{day}.txt?{SIGNATURE}");
    let body = json!({ "redirect_to": url }).to_string();
    let headers = [(header::LOCATION, url), (header::CONTENT_TYPE, "application/json".to_owned())];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers, body).into_response())
}

/// Serves a list, one number per line. Like S3, it accepts only one kind of authentication: the signature in the URL.
async fn file(
    State(engine): Shared,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return refusal(StatusCode::BAD_REQUEST, "InvalidArgument");
    }
    if query.as_deref() != Some(SIGNATURE) {
        return refusal(StatusCode::FORBIDDEN, "AccessDenied");
    }
    let day = file.strip_suffix(".txt").and_then(|day| day.parse::<Date>().ok());
    match day.and_then(|day| engine.deactivations(day)) {
        Some(numbers) => {
            let lines: String = numbers.iter().flat_map(|number| [number.as_str(), "\n"]).collect();
            ([(header::CONTENT_TYPE, "text/plain")], lines).into_response()
        }
        None => refusal(StatusCode::NOT_FOUND, "NoSuchKey"),
    }
}

/// Returns an error as S3 does.
fn refusal(status: StatusCode, code: &str) -> Response {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code></Error>");
    (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}
