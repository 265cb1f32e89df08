//! A subscriber on this machine: registers itself with the running stack, verifies each event and prints it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

use crate::stack::StackInfo;

/// Why events cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The stack has no API key, because it uses another database.
    #[error("the running stack has no API key: create one with `make key` and set it in SMS_API_KEY")]
    NoKey,
    /// The stack did not accept the subscription.
    #[error("the stack did not accept the subscription: {0}")]
    Refused(String),
    /// No connection to the stack.
    #[error("cannot reach the running stack")]
    Unavailable(#[from] reqwest::Error),
    /// No port.
    #[error("cannot open a port")]
    Port(#[from] std::io::Error),
}

/// A registered receiver.
#[derive(Debug)]
pub struct Listener {
    client: reqwest::Client,
    api_url: String,
    key: String,
    id: String,
}

impl Listener {
    /// Opens a port and subscribes to events of these types, or of all if there are none, with texts and numbers. From
    /// then on, events are printed.
    ///
    /// # Errors
    ///
    /// [`ListenError`]: nothing is subscribed.
    pub async fn start(info: &StackInfo, key: Option<String>, types: &[&str]) -> Result<Self, ListenError> {
        let key = key.or_else(|| info.api_key.clone()).ok_or(ListenError::NoKey)?;
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let verifier = Arc::new(OnceLock::new());
        let router = Router::new().fallback(receive).with_state(verifier.clone());
        tokio::spawn(async move {
            // The server ends with the process.
            let _ = axum::serve(listener, router).await;
        });
        let client = reqwest::Client::builder().no_proxy().build()?;
        let request = json!({
            "url": url, "event_types": types, "include_unknown": true, "content": true, "description": "make listen",
        });
        let call = client.post(format!("{}/subscriptions", info.api_url)).bearer_auth(&key).json(&request);
        let response = call.send().await?;
        let is_created = response.status() == StatusCode::CREATED;
        let text = response.text().await?;
        let created: Value = serde_json::from_str(&text).unwrap_or_default();
        let (Some(id), Some(Ok(secret))) =
            (created["id"].as_str(), created["secret"].as_str().map(Webhook::new))
        else {
            return Err(ListenError::Refused(text));
        };
        if !is_created {
            return Err(ListenError::Refused(text));
        }
        // Set only here.
        let _ = verifier.set(secret);
        Ok(Self { client, api_url: info.api_url.clone(), key, id: id.to_owned() })
    }

    /// Deletes the subscription.
    ///
    /// # Errors
    ///
    /// [`ListenError::Unavailable`]: the subscription is left, and is disabled after five days.
    pub async fn stop(self) -> Result<(), ListenError> {
        let url = format!("{}/subscriptions/{}", self.api_url, self.id);
        self.client.delete(url).bearer_auth(&self.key).send().await?.error_for_status()?;
        Ok(())
    }
}

async fn receive(
    State(verifier): State<Arc<OnceLock<Webhook>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    if event["type"] == "subscription.verification" {
        return axum::Json(json!({ "challenge": event["data"]["challenge"] })).into_response();
    }
    // An event may arrive before the response to the registration. It is repeated.
    let Some(verifier) = verifier.get() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let text = String::from_utf8_lossy(&body);
    let mut out = std::io::stdout().lock();
    // A closed terminal ends the process.
    let (status, _) = match verifier.verify(&body, &headers) {
        Ok(()) => (StatusCode::OK, writeln!(out, "verified  {text}")),
        Err(error) => (StatusCode::BAD_REQUEST, writeln!(out, "REFUSED   {text} ({error})")),
    };
    status.into_response()
}
