//! Emulates SQS over its JSON wire protocol, so that the functions can use the AWS SDK unchanged.

mod actions;
mod attributes;
mod batches;
mod error;
mod message;
mod store;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use tokio::sync::Notify;

pub use self::error::SqsError;
pub use self::message::MAX_MESSAGE_BYTES;
use self::store::Store;
use crate::clock;
use crate::template::ACCOUNT_ID;

/// The SQS emulator.
#[derive(Debug)]
pub struct Sqs {
    store: Mutex<Store>,
    new_messages: Mutex<HashMap<String, Arc<Notify>>>,
    base_url: String,
    region: String,
}

impl Sqs {
    /// Opens the queues stored in `path`. `base_url` is the prefix of queue URLs.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or is not a queue store.
    pub fn open(path: &Path, base_url: &str, region: &str) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            store: Mutex::new(Store::open(path)?),
            new_messages: Mutex::default(),
            base_url: base_url.trim_end_matches('/').to_owned(),
            region: region.to_owned(),
        })
    }

    /// Returns the router. SQS accepts requests at `/` and at queue URLs.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/", post(serve))
            .route("/{account}/{queue}", post(serve))
            // Escaping makes a request longer than the message limit; eight times is more than SDKs send.
            .layer(DefaultBodyLimit::max(8 * MAX_MESSAGE_BYTES))
            .with_state(self)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the name of each queue with the number of its messages and the age of the oldest in seconds.
    pub(crate) fn sizes(&self) -> Vec<(String, f64, f64)> {
        // The store is a local file; metrics without queue sizes show that it cannot be read.
        self.store().sizes().unwrap_or_default()
    }

    fn url(&self, queue: &str) -> String {
        format!("{}/{ACCOUNT_ID}/{queue}", self.base_url)
    }

    fn arn(&self, queue: &str) -> String {
        format!("arn:aws:sqs:{}:{ACCOUNT_ID}:{queue}", self.region)
    }

    /// Returns the notifier for messages that may have become visible in the queue.
    fn new_message(&self, queue: &str) -> Arc<Notify> {
        let mut notifiers = self.new_messages.lock().unwrap_or_else(PoisonError::into_inner);
        notifiers.entry(queue.to_owned()).or_default().clone()
    }
}

async fn serve(State(sqs): State<Arc<Sqs>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let action = target.strip_prefix("AmazonSQS.").unwrap_or(target);
    let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
    let outcome = match serde_json::from_slice(&body) {
        Ok(input) => sqs.act(action, input).await,
        Err(error) => Err(SqsError::InvalidParameterValue(format!("The request is not valid JSON: {error}"))),
    };
    let headers = [
        ("content-type", "application/x-amz-json-1.0".to_owned()),
        ("x-amzn-requestid", clock::request_id()),
    ];
    match outcome {
        Ok(Value::Null) => headers.into_response(),
        Ok(output) => (headers, output.to_string()).into_response(),
        Err(error) => error.into_response(),
    }
}
