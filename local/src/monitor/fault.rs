//! What the stand-in does instead of answering.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// How long a slow answer takes unless the fault says: longer than anybody waits.
const SLOW_SECONDS: f64 = 30.0;
/// A body that nobody should read to its end.
const HUGE: usize = 10 << 20;

/// A fault, armed until it is disarmed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Connections break.
    Down,
    /// The right answer, late.
    Slow {
        /// How late.
        #[serde(default = "slow")]
        seconds: f64,
    },
    /// Nothing but this status.
    Status {
        /// Which.
        status: u16,
    },
    /// 200, and a page.
    Html,
    /// 200, and JSON of another kind.
    WrongJson,
    /// 200, and nothing.
    Empty,
    /// 200, and ten megabytes of JSON that would be right.
    Huge,
}

const fn slow() -> f64 {
    SLOW_SECONDS
}

impl Fault {
    /// Answers in place of what would be right; `None` when that is to be answered after all.
    pub(super) async fn answer(self) -> Option<Response> {
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Some(match self {
            Self::Slow { seconds } => {
                let late = Duration::try_from_secs_f64(seconds).unwrap_or_default();
                tokio::time::sleep(late).await;
                return None;
            }
            // It is seen to before there is a request.
            Self::Down => StatusCode::BAD_GATEWAY.into_response(),
            Self::Status { status } => {
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
            }
            Self::Html => Html("<!doctype html><title>Sign in</title>").into_response(),
            Self::WrongJson => (json, r#"{"error":"not what you asked for"}"#).into_response(),
            Self::Empty => StatusCode::OK.into_response(),
            Self::Huge => {
                let padding = "x".repeat(HUGE);
                (json, format!(r#"{{"tenant_id":"T-1","padding":"{padding}"}}"#)).into_response()
            }
        })
    }
}
