//! Lambda's Invoke API, used by AWS SDKs and by `local key`.

use std::sync::{Arc, OnceLock};

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::{Functions, InvokeError, WhenBusy};

/// The functions, set when they can be invoked. They need queues, which are created through the same endpoint.
type LateFunctions = Arc<OnceLock<Arc<Functions>>>;

/// Returns the Invoke API's router.
pub(crate) fn router(functions: LateFunctions) -> Router {
    Router::new()
        .route("/2015-03-31/functions/{name}/invocations", post(invoke))
        .layer(axum::extract::DefaultBodyLimit::max(super::MAX_PAYLOAD_BYTES))
        .with_state(functions)
}

async fn invoke(
    State(functions): State<LateFunctions>,
    Path(name): Path<String>,
    headers: HeaderMap,
    payload: Bytes,
) -> Response {
    let payload = if payload.is_empty() { Bytes::from_static(b"{}") } else { payload };
    let Some(functions) = functions.get().cloned() else {
        return aws_error(StatusCode::SERVICE_UNAVAILABLE, "ServiceException", "The stack is starting.");
    };
    if functions.get(&name).is_none() {
        let message = format!("Function not found: {name}");
        return aws_error(StatusCode::NOT_FOUND, "ResourceNotFoundException", &message);
    }
    if headers.get("x-amz-invocation-type").is_some_and(|kind| kind == "Event") {
        tokio::spawn(async move { functions.invoke(&name, payload, WhenBusy::Wait).await });
        return StatusCode::ACCEPTED.into_response();
    }
    match functions.invoke(&name, payload, WhenBusy::Throttle).await {
        Ok(output) => ([("x-amz-executed-version", "$LATEST")], output).into_response(),
        Err(InvokeError::Function(payload)) => {
            ([("x-amz-executed-version", "$LATEST"), ("x-amz-function-error", "Unhandled")], payload)
                .into_response()
        }
        Err(error @ (InvokeError::Throttled | InvokeError::NotFound(_))) => {
            aws_error(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", &error.to_string())
        }
    }
}

fn aws_error(status: StatusCode, kind: &'static str, message: &str) -> Response {
    (status, [("x-amzn-errortype", kind)], Json(json!({ "Type": "User", "Message": message })))
        .into_response()
}
