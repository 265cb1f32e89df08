//! Error responses of the REST API.
//!
//! <https://www.twilio.com/docs/api/errors>

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::json;

use crate::error_codes::{status, text};

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: u32,
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl ApiError {
    /// Returns the error with the usual status and text.
    pub(crate) fn of(code: u32) -> Self {
        Self { code, status: status(code), message: text(code).to_owned() }
    }

    /// Returns the error with its usual status and a specific text.
    pub(crate) fn with(code: u32, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::of(code) }
    }

    /// Returns error 20404 for `path`.
    pub(crate) fn not_found(path: &str) -> Self {
        Self::with(20404, format!("The requested resource {path} was not found"))
    }

    /// Returns the response body.
    pub(crate) fn body(&self) -> String {
        json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.status,
        })
        .to_string()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/json")], self.body()).into_response();
        if self.code == 20003 {
            let challenge = http::HeaderValue::from_static("Basic realm=\"Twilio API\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
