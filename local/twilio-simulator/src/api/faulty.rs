//! Responses to requests that meet a fault.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::header;

use crate::api::error::ApiError;
use crate::api::server::Connection;
use crate::faults::armed::Met;
use crate::faults::fault::Fault;

/// The largest request body.
pub(crate) const MAX_REQUEST: usize = 256 * 1024;

/// The time to flush half a response.
const FLUSH: Duration = Duration::from_millis(20);

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
    let whole = axum::body::to_bytes(body, MAX_REQUEST).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let half = whole.slice(..whole.len() / 2);
    let first = futures::stream::once(async { Ok(half) });
    let rest = futures::stream::once(async {
        // The connection sends the first half during this pause.
        tokio::time::sleep(FLUSH).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    let broken = first.chain(rest);
    Response::from_parts(parts, Body::from_stream(broken))
}
