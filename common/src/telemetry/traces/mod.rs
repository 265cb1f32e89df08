//! Traces: OpenTelemetry spans, exported with OTLP over HTTP after each invocation
//! (`common/docs/decisions/0023-traces.md`).
//!
//! They are compiled with the feature `traces` and recorded if an endpoint is configured (`is_on`). Otherwise every
//! function here does nothing. Spans have the attributes of OpenTelemetry's semantic conventions and contain no message
//! texts, phone numbers or secrets: paths and statements are templates or names.
//!
//! A trace continues over HTTP headers, message attributes on SQS, a column of `sms_messages`, and the URL of status
//! callbacks, each of which holds a [`TraceContext`].

mod context;
#[cfg(feature = "traces")]
mod export;
#[cfg(not(feature = "traces"))]
mod off;
#[cfg(feature = "traces")]
mod span;

pub use context::{TRACEPARENT, TRACESTATE, TraceContext};
#[cfg(feature = "traces")]
pub use export::flush;
#[cfg(feature = "traces")]
pub(super) use export::init;
#[cfg(feature = "traces")]
pub(crate) use export::is_on;
#[cfg(not(feature = "traces"))]
pub(crate) use off::is_on;
#[cfg(not(feature = "traces"))]
pub use off::{ServerSpan, Span, begin_invocation, current, of_request};
#[cfg(not(feature = "traces"))]
pub(super) use off::{current_trace_id, init};
#[cfg(feature = "traces")]
pub(super) use span::current_trace_id;
#[cfg(feature = "traces")]
pub use span::{ServerSpan, Span, begin_invocation, current, of_request};

/// Returns the context of [`of_request`] as the text of a column, if the trace is recorded.
#[must_use]
pub fn to_store(request_id: &str) -> Option<String> {
    of_request(request_id).filter(TraceContext::is_sampled).map(|context| context.to_text())
}

/// What a span describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The handling of a request.
    Server,
    /// A request to another system.
    Client,
    /// Putting messages on a queue.
    Producer,
    /// Processing messages of a queue.
    Consumer,
    /// Anything else.
    Internal,
}
