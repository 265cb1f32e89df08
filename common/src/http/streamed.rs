//! Responses whose body is written while the caller reads it (Lambda's response streaming).

use super::{Response, response};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use lambda_http::Body;
use lambda_runtime::streaming::{self, Sender};
use lambda_runtime::{MetadataPrelude, StreamResponse};
use tracing::{Instrument, Span};

/// A response, and the work that writes its body if it is not complete.
pub struct Streamed {
    pub(super) response: Response,
    writing: Option<(streaming::Body, LocalBoxFuture<'static, ()>)>,
}

impl Streamed {
    /// Creates a response with the status and headers of `response`. Its body is what `write` sends until it ends.
    ///
    /// `write` runs in the current span, and writes the last line of the invocation. Sending fails when the caller's
    /// connection is known to be gone, which Lambda does not report.
    pub fn new<F>(response: Response, write: impl FnOnce(Sender) -> F) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let (sender, body) = streaming::channel();
        let writing = write(sender).instrument(Span::current()).boxed_local();
        Self { response, writing: Some((body, writing)) }
    }

    /// Returns whether the body is written later.
    pub(super) fn is_open(&self) -> bool {
        self.writing.is_some()
    }

    /// Removes the body, also the one that is written later.
    pub(super) fn without_body(mut self) -> Self {
        *self.response.body_mut() = response::empty_body();
        self.writing = None;
        self
    }

    /// Starts to write the body. Must run in a local tokio runtime.
    pub(super) fn start(self) -> StreamResponse<streaming::Body> {
        let (parts, body) = self.response.into_parts();
        let stream = match (self.writing, body) {
            (Some((stream, writing)), _) => {
                tokio::task::spawn_local(writing);
                stream
            }
            (None, Body::Text(text)) => text.into(),
            (None, Body::Binary(bytes)) => bytes.into(),
            (None, _) => streaming::Body::empty(),
        };
        let metadata_prelude =
            MetadataPrelude { status_code: parts.status, headers: parts.headers, cookies: Vec::new() };
        StreamResponse { metadata_prelude, stream }
    }
}

impl From<Response> for Streamed {
    fn from(response: Response) -> Self {
        Self { response, writing: None }
    }
}
