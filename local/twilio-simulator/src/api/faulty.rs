//! Responses to requests that meet a fault.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Redirect, Response};
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};

use crate::api::auth::caller;
use crate::api::error::ApiError;
use crate::api::server::Connection;
use crate::delivery::engine::Engine;
use crate::faults::armed::{Facts, Met, Operation};
use crate::faults::fault::Fault;

/// The largest request body.
pub(crate) const MAX_REQUEST: usize = 256 * 1024;

/// The time to flush half a response.
const FLUSH: Duration = Duration::from_millis(20);

/// The size of a part of a body that a fault has made up.
const PART: usize = 64 * 1024;
/// The pause between the parts of an endless body.
const PART_PAUSE: Duration = Duration::from_millis(1);

/// Authenticates a request other than create and applies its fault.
pub(crate) async fn respond(
    engine: &Engine,
    connection: &Connection,
    (headers, account): (&HeaderMap, &str),
    (operation, facts): (Operation, Facts<'_>),
    run: impl AsyncFnOnce() -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    caller(engine, headers, account)?;
    let fault = engine.faults().meet(operation, &facts);
    Ok(with_fault(fault, connection, async || run().await.into_response()).await)
}

/// Responds to a request that meets the fault `met`. `run` processes the request and returns the normal response.
pub(crate) async fn with_fault(
    met: Option<Met>,
    connection: &Connection,
    run: impl AsyncFnOnce() -> Response,
) -> Response {
    match met.map(|met| met.fault) {
        Some(Fault::ResetBeforeRead {}) => connection.reset().await,
        Some(Fault::ResetAfterRead { accept }) => {
            if accept {
                run().await;
            }
            connection.reset().await
        }
        Some(Fault::Hang { accept, seconds }) => {
            if accept {
                run().await;
            }
            match seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
            connection.reset().await
        }
        Some(Fault::ServerError { accept, status }) => {
            if accept {
                run().await;
            }
            let code = if status == 503 { 20503 } else { 20500 };
            ApiError { status, ..ApiError::of(code) }.into_response()
        }
        Some(Fault::RateLimited { retry_after }) => {
            let mut response = ApiError::of(20429).into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        Some(Fault::Truncated {}) => truncated(run().await).await,
        Some(Fault::Garbled {}) => {
            let status = run().await.status();
            (status, [(header::CONTENT_TYPE, "text/html")], "<html><body>Bad gateway</body></html>")
                .into_response()
        }
        Some(Fault::Slow { ms }) => {
            let response = run().await;
            tokio::time::sleep(Duration::from_millis(ms)).await;
            response
        }
        Some(Fault::Redirect { location: Some(location) }) => Redirect::temporary(&location).into_response(),
        Some(Fault::ContentType { value }) => {
            let mut response = run().await;
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(header::CONTENT_TYPE, value);
            }
            response
        }
        Some(Fault::Oversized { bytes }) => replaced(run().await, Some(bytes), made_up(bytes)),
        Some(Fault::Endless {}) => {
            let parts = made_up(u64::MAX).then(|part| async {
                tokio::time::sleep(PART_PAUSE).await;
                part
            });
            replaced(run().await, None, parts)
        }
        Some(Fault::SlowBody { ms }) => slow(run().await, Duration::from_millis(ms)).await,
        Some(Fault::Error { code, status }) => {
            let error = ApiError::of(code);
            ApiError { status: status.unwrap_or(error.status), ..error }.into_response()
        }
        _ => run().await,
    }
}

/// Cuts a response in the middle of its body.
async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let half = whole.slice(..whole.len() / 2);
    let first = stream::once(async { Ok(half) });
    let rest = stream::once(async {
        // The connection sends the first half during this pause.
        tokio::time::sleep(FLUSH).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    let broken = first.chain(rest);
    Response::from_parts(parts, Body::from_stream(broken))
}

type Part = std::io::Result<Bytes>;

/// Returns `bytes` zeros in parts.
fn made_up(bytes: u64) -> impl Stream<Item = Part> + Send + 'static {
    stream::unfold(bytes, |left| async move {
        let part = left.min(PART as u64);
        (part > 0).then(|| (Ok(Bytes::from(vec![0; part as usize])), left - part))
    })
}

/// Replaces the body of a response.
fn replaced(
    response: Response,
    length: Option<u64>,
    body: impl Stream<Item = Part> + Send + 'static,
) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Body::from_stream(body))
}

/// Sends the body of a response in ten parts, with a pause before each.
async fn slow(response: Response, pause: Duration) -> Response {
    let (parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let length = whole.len() as u64;
    let size = whole.len().div_ceil(10).max(1);
    let body = stream::unfold(whole, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let part = rest.split_to(size.min(rest.len()));
        Some((Ok(part), rest))
    });
    replaced(Response::from_parts(parts, Body::empty()), Some(length), body)
}
