//! An SQS that takes everything and remembers nothing.

use crate::http::{self, Answer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A running server.
#[derive(Debug)]
pub struct Sqs {
    /// What `AWS_ENDPOINT_URL_SQS` must be.
    pub url: String,
    taken: Arc<AtomicUsize>,
}

impl Sqs {
    /// Starts it.
    pub fn start() -> Self {
        let taken = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&taken);
        let address = http::serve(move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
            // The shape of SendMessage's answer; nobody here sends batches or asks for attributes.
            let body = r#"{"MD5OfMessageBody":"fafb00f5732ab283681e124bf8747ed1","MessageId":"7f9e1c1e-2c0c-4b0a-9d9c-1f0a4d4f7ee2"}"#;
            Some(Answer { status: "200 OK", headers: String::new(), body: body.into() })
        })
        .expect("a port");
        Self { url: format!("http://{address}"), taken }
    }

    /// Returns how many calls it has had.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}
