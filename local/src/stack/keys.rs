//! Creates an API key in a running stack through its Invoke API.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// Why no key was created.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The stack cannot be reached.
    #[error("cannot reach the running stack at {url}: {reason}")]
    Unavailable {
        /// The URL that was called.
        url: String,
        /// The error.
        reason: String,
    },
    /// The function rejected the request, for example because of an unknown scope.
    #[error("the key was not created: {0}")]
    Rejected(String),
}

/// Creates a key with `scopes`.
///
/// # Errors
///
/// If the stack at `aws_endpoint_url` is not running, or its function rejects the request.
pub async fn create_key(aws_endpoint_url: &str, scopes: &[&str]) -> Result<String, KeyError> {
    let url = format!("{aws_endpoint_url}/2015-03-31/functions/manage-keys/invocations");
    let unavailable = |reason: String| KeyError::Unavailable { url: url.clone(), reason };
    let payload = json!({ "action": "create", "name": "local key", "scopes": scopes }).to_string();
    let request = Request::post(&url)
        .body(Full::new(Bytes::from(payload)))
        .map_err(|error| unavailable(error.to_string()))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|error| unavailable(error.to_string()))?;
    let body =
        response.into_body().collect().await.map_err(|error| unavailable(error.to_string()))?.to_bytes();
    let output: Option<Value> = serde_json::from_slice(&body).ok();
    let text = |name: &str| Some(output.as_ref()?.get(name)?.as_str()?.to_owned());
    let reason = || text("errorMessage").unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    text("key").ok_or_else(|| KeyError::Rejected(reason()))
}
