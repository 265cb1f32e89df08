//! An OTLP collector that keeps the spans it receives, and fails or hangs on demand.

use crate::{Behaviour, eventually};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A received span.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// `service.name` of the resource.
    pub service: String,
    /// The other attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// The name.
    pub name: String,
    /// The kind.
    pub kind: SpanKind,
    /// The trace id in hex.
    pub trace_id: String,
    /// The span id in hex.
    pub span_id: String,
    /// The parent's id in hex, empty for the first span of a trace.
    pub parent_id: String,
    /// The `tracestate`.
    pub trace_state: String,
    /// The ids of the linked spans, in hex.
    pub links: Vec<String>,
    /// The attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether the span failed.
    pub has_failed: bool,
}

impl Exported {
    /// Returns the `traceparent` of the span's children.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }

    /// Returns an attribute, or an empty text.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// Returns whether this is a child of the other span, in its trace.
    #[must_use]
    pub fn is_child_of(&self, other: &Self) -> bool {
        self.trace_id == other.trace_id && self.parent_id == other.span_id
    }
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    requests: Mutex<usize>,
    spans: Mutex<Vec<Exported>>,
}

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    url: String,
    shared: Arc<Shared>,
}

impl Collector {
    /// Starts a collector that accepts everything.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Accepts),
            requests: Mutex::default(),
            spans: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/v1/traces", post(receive)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    /// Returns the value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes the behaviour.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// Returns the number of requests so far.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    #[must_use]
    pub fn requests(&self) -> usize {
        *self.shared.requests.lock().unwrap()
    }

    /// Returns the spans so far.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    #[must_use]
    pub fn spans(&self) -> Vec<Exported> {
        self.shared.spans.lock().unwrap().clone()
    }

    /// Waits for a span.
    ///
    /// # Panics
    ///
    /// If there is none within two minutes.
    pub async fn span(&self, what: &str, is_right: impl Fn(&Exported) -> bool) -> Exported {
        eventually(what, async || self.spans().into_iter().find(&is_right)).await
    }

    /// Waits for the first span of a function with this name.
    ///
    /// # Panics
    ///
    /// If there is none within two minutes.
    pub async fn named(&self, service: &str, name: &str) -> Exported {
        self.span(&format!("{name} of {service}"), |span| span.service == service && span.name == name).await
    }

    /// Waits for a child of a span.
    ///
    /// # Panics
    ///
    /// If there is none within two minutes.
    pub async fn child(&self, parent: &Exported, service: &str, kind: SpanKind) -> Exported {
        let what = format!("{kind:?} of {service} below {:?}", parent.name);
        self.span(&what, |span| span.is_child_of(parent) && span.service == service && span.kind == kind)
            .await
    }
}

async fn receive(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    *shared.requests.lock().unwrap() += 1;
    let behaviour = *shared.behaviour.lock().unwrap();
    match behaviour {
        Behaviour::Accepts => {}
        Behaviour::Fails => return StatusCode::INTERNAL_SERVER_ERROR,
        Behaviour::Hangs => return std::future::pending().await,
        Behaviour::Slow => tokio::time::sleep(Duration::from_millis(333)).await,
    }
    let request = ExportTraceServiceRequest::decode(body).expect("an OTLP request");
    let mut spans = shared.spans.lock().unwrap();
    for of_resource in request.resource_spans {
        let mut resource = texts(&of_resource.resource.expect("a resource").attributes);
        let service = resource.remove("service.name").unwrap_or_default();
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(exported(&service, &resource, span));
        }
    }
    StatusCode::OK
}

fn exported(service: &str, resource: &BTreeMap<String, String>, span: Span) -> Exported {
    assert!(
        span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano,
        "{span:?}"
    );
    Exported {
        service: service.to_owned(),
        resource: resource.clone(),
        kind: span.kind(),
        attributes: texts(&span.attributes),
        has_failed: span.status.is_some_and(|status| status.code() == SpanStatus::Error),
        name: span.name,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        trace_state: span.trace_state,
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(is_true)) => is_true.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
