//! Faults that the stand-in can simulate.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// Default delay of a slow response; longer than the timeout of every client.
const SLOW_SECONDS: f64 = 30.0;
/// The size of a body that a client should not read completely.
const HUGE_BODY_BYTES: usize = 10 << 20;

/// A fault that stays active until it is cleared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Connections are reset.
    Down,
    /// The correct response after a delay.
    Slow {
        /// The delay in seconds.
        #[serde(default = "slow")]
        seconds: f64,
    },
    /// An empty response with this status.
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// 200 with an HTML page.
    Html,
    /// 200 with unexpected JSON.
    WrongJson,
    /// 200 with an empty body.
    Empty,
    /// 200 with ten megabytes of otherwise valid JSON.
    Huge,
}

const fn slow() -> f64 {
    SLOW_SECONDS
}

impl Fault {
    /// Returns the faulty response, or `None` if the correct response should be sent.
    pub(super) async fn respond(self) -> Option<Response> {
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Some(match self {
            Self::Slow { seconds } => {
                let late = Duration::try_from_secs_f64(seconds).unwrap_or_default();
                tokio::time::sleep(late).await;
                return None;
            }
            // Normally handled before routing, see `serve_connection`.
            Self::Down => StatusCode::BAD_GATEWAY.into_response(),
            Self::Status { status } => {
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
            }
            Self::Html => Html("<!doctype html><title>Sign in</title>").into_response(),
            Self::WrongJson => (json, r#"{"error":"unexpected"}"#).into_response(),
            Self::Empty => StatusCode::OK.into_response(),
            Self::Huge => {
                let padding = "x".repeat(HUGE_BODY_BYTES);
                (json, format!(r#"{{"tenant_id":"T-1","padding":"{padding}"}}"#)).into_response()
            }
        })
    }
}
