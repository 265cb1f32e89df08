//! Spans. All functions return at once when no endpoint is configured.

use super::{Kind, TraceContext, export};
use crate::clock;
use opentelemetry::trace::{
    FutureExt, Link, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
    TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// The methods of HTTP. Others are shown as `_OTHER`, because a caller can invent any number of them.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// What the spans of an invocation show of it.
#[derive(Default)]
struct Invocation {
    id: String,
    is_cold_start: bool,
    is_later: bool,
}

thread_local! {
    /// The current invocation. A function handles one at a time, on one thread.
    static INVOCATION: RefCell<Invocation> = RefCell::default();
}

/// The contexts of the records of a batch by request id.
struct Requests(HashMap<String, TraceContext>);

/// Keeps what the first spans of an invocation show of it.
pub fn begin_invocation(context: &lambda_runtime::Context) {
    if export::is_on() {
        INVOCATION.with_borrow_mut(|invocation| {
            invocation.id.clone_from(&context.request_id);
            invocation.is_cold_start = !invocation.is_later;
            invocation.is_later = true;
        });
    }
}

/// Returns the context of the current span.
#[must_use]
pub fn current() -> Option<TraceContext> {
    if export::is_on() { Context::map_current(context_of) } else { None }
}

/// Returns the context of the record with this request id, or else of the current span.
///
/// A batch has records of several traces. What is put on a queue for one of them continues its trace.
#[must_use]
pub fn of_request(request_id: &str) -> Option<TraceContext> {
    if !export::is_on() {
        return None;
    }
    let of_record = |current: &Context| current.get::<Requests>()?.0.get(request_id).cloned();
    Context::map_current(of_record).or_else(current)
}

/// Returns the id of the current trace if it is recorded.
pub(in crate::telemetry) fn current_trace_id() -> Option<String> {
    let id = |current: &Context| {
        let span = current.span();
        let context = span.span_context();
        context.is_sampled().then(|| context.trace_id().to_string())
    };
    if export::is_on() { Context::map_current(id) } else { None }
}

fn context_of(context: &Context) -> Option<TraceContext> {
    let span = context.span();
    let context = span.span_context();
    let traceparent =
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8());
    TraceContext::parse(&traceparent, Some(&context.trace_state().header()))
}

/// Returns the context of a span in another function.
fn remote(context: &TraceContext) -> SpanContext {
    let mut fields = context.traceparent().split('-').skip(1);
    let mut field = || fields.next().unwrap_or_default();
    SpanContext::new(
        TraceId::from_hex(field()).unwrap_or(TraceId::INVALID),
        SpanId::from_hex(field()).unwrap_or(SpanId::INVALID),
        TraceFlags::new(u8::from_str_radix(field(), 16).unwrap_or_default()),
        true,
        context.tracestate().and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default(),
    )
}

/// One step of a trace. It ends when it is dropped.
#[derive(Debug)]
pub struct Span(Option<Context>);

impl Span {
    fn start(builder: SpanBuilder, parent: &Context) -> Self {
        Self(export::tracer().map(|tracer| parent.with_span(tracer.build_with_context(builder, parent))))
    }

    /// Starts a child of the current span. If the current one is not recorded, or if there is none, such as before the
    /// first invocation, nothing is recorded.
    #[must_use]
    pub fn child(kind: Kind, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        if export::is_on() && Context::map_current(|current| current.span().is_recording()) {
            Self::start(SpanBuilder::from_name(name()).with_kind(kind.into()), &Context::current())
        } else {
            Self(None)
        }
    }

    /// Starts the first span of an invocation: a child of `parent`, or else a new trace. `trigger` is a value of
    /// `faas.trigger`. `links` are spans of other traces that caused it too.
    #[must_use]
    pub fn of_invocation(
        kind: Kind,
        trigger: &'static str,
        name: impl Into<Cow<'static, str>>,
        parent: Option<&TraceContext>,
        links: &[TraceContext],
    ) -> Self {
        if !export::is_on() {
            return Self(None);
        }
        let builder = SpanBuilder::from_name(name).with_kind(kind.into());
        Self::first(builder.with_links(links.iter().map(link).collect()), trigger, parent)
    }

    fn first(builder: SpanBuilder, trigger: &'static str, parent: Option<&TraceContext>) -> Self {
        let none = Context::new();
        let parent =
            parent.map_or_else(|| none.clone(), |parent| none.with_remote_span_context(remote(parent)));
        let span = Self::start(builder, &parent);
        span.set("faas.trigger", trigger);
        INVOCATION.with_borrow(|invocation| {
            span.set("faas.invocation_id", &invocation.id);
            span.set_value(KeyValue::new("faas.coldstart", invocation.is_cold_start));
        });
        span
    }

    /// Starts a span for one of several items that are processed together: a child of `parent` that links to the
    /// current span.
    #[must_use]
    pub fn linked(kind: Kind, name: impl Into<Cow<'static, str>>, parent: &TraceContext) -> Self {
        if !export::is_on() {
            return Self(None);
        }
        let current = Context::current();
        let shared = current.span().span_context().clone();
        let links = if shared.is_valid() { vec![Link::with_context(shared)] } else { Vec::new() };
        let builder = SpanBuilder::from_name(name).with_kind(kind.into()).with_links(links);
        Self::start(builder, &current.with_remote_span_context(remote(parent)))
    }

    /// Starts a span as [`Span::linked`] if `from` is in another trace than the current one, or else as a child of the
    /// current span.
    #[must_use]
    pub fn continuing(kind: Kind, name: &'static str, from: Option<&TraceContext>) -> Self {
        let is_other =
            |from: &&TraceContext| current().is_none_or(|current| current.trace_id() != from.trace_id());
        match from.filter(is_other) {
            Some(from) => Self::linked(kind, name, from),
            None => Self::child(kind, || name.into()),
        }
    }

    /// Returns whether the span is recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|context| context.span().is_recording())
    }

    /// Sets an attribute.
    pub fn set(&self, key: &'static str, value: &str) {
        if self.is_recorded() {
            self.set_value(KeyValue::new(key, value.to_owned()));
        }
    }

    /// Sets a number as an attribute.
    pub fn set_number(&self, key: &'static str, value: i64) {
        self.set_value(KeyValue::new(key, value));
    }

    fn set_value(&self, attribute: KeyValue) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(attribute);
        }
    }

    /// Marks the span as failed. `error_type` is one of few values, such as a status code.
    pub fn fail(&self, error_type: &str) {
        self.set("error.type", error_type);
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(""));
        }
    }

    /// Returns the context for children in other functions.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().and_then(context_of)
    }

    /// Runs `start` within the span.
    pub fn in_scope<T>(&self, start: impl FnOnce() -> T) -> T {
        let _guard = self.0.clone().map(Context::attach);
        start()
    }

    /// Runs `work` within the span.
    pub async fn wrap<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// Runs `work` within the span, with a context for each request: [`of_request`].
    pub async fn wrap_requests<T>(
        &self,
        requests: HashMap<String, TraceContext>,
        work: impl Future<Output = T>,
    ) -> T {
        match &self.0 {
            Some(context) => work.with_context(context.with_value(Requests(requests))).await,
            None => work.await,
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Producer => Self::Producer,
            Kind::Consumer => Self::Consumer,
            Kind::Internal => Self::Internal,
        }
    }
}

fn link(context: &TraceContext) -> Link {
    Link::with_context(remote(context))
}

/// The span of an HTTP request.
///
/// The parent must come from a caller that is authorized, so that nobody else can decide which traces are recorded. A
/// function URL knows that only after it has verified a signature, so the span can be started later than the request.
#[derive(Debug, Clone)]
pub struct ServerSpan(Option<Arc<Request>>);

#[derive(Debug)]
struct Request {
    method: &'static str,
    route: OnceLock<String>,
    begun_at: SystemTime,
    span: OnceLock<Span>,
}

impl ServerSpan {
    /// Prepares the span of a request that begins now. `route` is the template of its path.
    #[must_use]
    pub fn new(method: &str, route: Option<&str>) -> Self {
        Self(export::is_on().then(|| {
            let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER");
            let route = route.map_or_else(OnceLock::new, |route| OnceLock::from(route.to_owned()));
            Arc::new(Request { method, route, begun_at: clock::now().into(), span: OnceLock::new() })
        }))
    }

    /// Starts the span, once.
    pub fn start(&self, parent: Option<&TraceContext>) {
        if let Some(request) = &self.0 {
            request.span(parent);
        }
    }

    /// Runs `work` within the span, if it was started.
    pub async fn wrap<T>(&self, work: impl Future<Output = T>) -> T {
        match self.0.as_ref().and_then(|request| request.span.get()) {
            Some(span) => span.wrap(work).await,
            None => work.await,
        }
    }

    /// Sets the route of a function URL, which has no routes: the path, once it is a known one.
    pub fn set_route(&self, route: &'static str) {
        if let Some(request) = &self.0 {
            let _ = request.route.set(route.to_owned());
        }
    }

    /// Ends the span. A request whose span was not started, such as one without a valid signature, is a new trace.
    pub fn end(&self, status: u16) {
        let Some(request) = &self.0 else { return };
        let span = request.span(None);
        span.set_number("http.response.status_code", status.into());
        if status >= 500 {
            span.fail(&status.to_string());
        }
        if let Some(context) = &span.0 {
            context.span().end();
        }
    }
}

impl Request {
    fn span(&self, parent: Option<&TraceContext>) -> &Span {
        self.span.get_or_init(|| {
            let route = self.route.get();
            let name =
                route.map_or_else(|| self.method.to_owned(), |route| format!("{} {route}", self.method));
            let builder =
                SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_start_time(self.begun_at);
            let span = Span::first(builder, "http", parent);
            span.set("http.request.method", self.method);
            span.set("url.scheme", "https");
            if let Some(route) = route {
                span.set("http.route", route);
            }
            span
        })
    }
}
