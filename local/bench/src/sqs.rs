//! A minimal SQS server that accepts all messages and stores none.

use crate::http::{self, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A running server.
#[derive(Debug)]
pub struct Sqs {
    /// The value for `AWS_ENDPOINT_URL_SQS`.
    pub url: String,
    calls: Arc<AtomicUsize>,
}

impl Sqs {
    /// Starts the server.
    pub fn start() -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let address = http::serve(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            // A response to SendMessage. The measured functions call no other action.
            let body = r#"{"MD5OfMessageBody":"fafb00f5732ab283681e124bf8747ed1","MessageId":"7f9e1c1e-2c0c-4b0a-9d9c-1f0a4d4f7ee2"}"#;
            Some(Response { status: "200 OK", headers: String::new(), body: body.into() })
        })
        .expect("a port");
        Self { url: format!("http://{address}"), calls }
    }

    /// Returns the number of calls so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}
