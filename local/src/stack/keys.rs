//! A new API key of a running stack, through its Invoke API.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The stack does not answer.
    #[error("the running stack does not answer at {url}: {reason}")]
    Away {
        /// Where it should be.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The function refused, for a scope that does not exist for instance.
    #[error("no key was made: {0}")]
    Refused(String),
}

/// Makes a key with `scopes`.
///
/// # Errors
///
/// When the stack at `aws_endpoint_url` does not run, or its function refuses.
pub async fn create_key(aws_endpoint_url: &str, scopes: &[&str]) -> Result<String, KeyError> {
    let url = format!("{aws_endpoint_url}/2015-03-31/functions/manage-keys/invocations");
    let away = |reason: String| KeyError::Away { url: url.clone(), reason };
    let payload = json!({ "action": "create", "name": "made by hand", "scopes": scopes }).to_string();
    let request =
        Request::post(&url).body(Full::new(Bytes::from(payload))).map_err(|error| away(error.to_string()))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|error| away(error.to_string()))?;
    let body = response.into_body().collect().await.map_err(|error| away(error.to_string()))?.to_bytes();
    let answer: Option<Value> = serde_json::from_slice(&body).ok();
    let text = |name: &str| Some(answer.as_ref()?.get(name)?.as_str()?.to_owned());
    let refused = || text("errorMessage").unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    text("key").ok_or_else(|| KeyError::Refused(refused()))
}
