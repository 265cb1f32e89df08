//! A build without the feature `traces`: nothing is recorded, and the compiler removes all calls.

use super::{Kind, TraceContext};
use std::borrow::Cow;
use std::collections::HashMap;

pub(in crate::telemetry) fn init(_service: &'static str) {
    let variables = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    if variables.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        tracing::warn!("no traces are exported, because this build does not have the feature traces");
    }
}

pub(crate) fn is_on() -> bool {
    false
}

pub(in crate::telemetry) fn current_trace_id() -> Option<String> {
    None
}

/// Keeps what the first spans of an invocation show of it.
pub fn begin_invocation(_context: &lambda_runtime::Context) {}

/// Returns the context of the current span.
#[must_use]
pub fn current() -> Option<TraceContext> {
    None
}

/// Returns the context of the record with this request id, or else of the current span.
#[must_use]
pub fn of_request(_request_id: &str) -> Option<TraceContext> {
    None
}

/// One step of a trace.
#[derive(Debug)]
pub struct Span;

impl Span {
    /// Starts a child of the current span.
    #[must_use]
    pub fn child(_kind: Kind, _name: impl FnOnce() -> Cow<'static, str>) -> Self {
        Self
    }

    /// Starts the first span of an invocation.
    #[must_use]
    pub fn of_invocation(
        _kind: Kind,
        _trigger: &'static str,
        _name: impl Into<Cow<'static, str>>,
        _parent: Option<&TraceContext>,
        _links: &[TraceContext],
    ) -> Self {
        Self
    }

    /// Starts a child of `parent` that links to the current span.
    #[must_use]
    pub fn linked(_kind: Kind, _name: impl Into<Cow<'static, str>>, _parent: &TraceContext) -> Self {
        Self
    }

    /// Starts a span that continues another trace than the current one.
    #[must_use]
    pub fn continuing(_kind: Kind, _name: &'static str, _from: Option<&TraceContext>) -> Self {
        Self
    }

    /// Returns whether the span is recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        false
    }

    /// Sets an attribute.
    pub fn set(&self, _key: &'static str, _value: &str) {}

    /// Sets a number as an attribute.
    pub fn set_number(&self, _key: &'static str, _value: i64) {}

    /// Marks the span as failed.
    pub fn fail(&self, _error_type: &str) {}

    /// Returns the context for children in other functions.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        None
    }

    /// Runs `start` within the span.
    pub fn in_scope<T>(&self, start: impl FnOnce() -> T) -> T {
        start()
    }

    /// Runs `work` within the span.
    pub async fn wrap<T>(&self, work: impl Future<Output = T>) -> T {
        work.await
    }

    /// Runs `work` within the span, with a context for each request.
    pub async fn wrap_requests<T>(
        &self,
        _requests: HashMap<String, TraceContext>,
        work: impl Future<Output = T>,
    ) -> T {
        work.await
    }
}

/// The span of an HTTP request.
#[derive(Debug, Clone)]
pub struct ServerSpan;

impl ServerSpan {
    /// Prepares the span.
    #[must_use]
    pub fn new(_method: &str, _route: Option<&str>) -> Self {
        Self
    }

    /// Starts the span.
    pub fn start(&self, _parent: Option<&TraceContext>) {}

    /// Runs `work` within the span.
    pub async fn wrap<T>(&self, work: impl Future<Output = T>) -> T {
        work.await
    }

    /// Sets the route of a function URL.
    pub fn set_route(&self, _route: &'static str) {}

    /// Ends the span.
    pub fn end(&self, _status: u16) {}
}
