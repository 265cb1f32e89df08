//! Writes log events as JSON lines, with the fields of the event and of its spans.

use super::Output;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Writes each event as a JSON line.
pub(super) struct JsonLines {
    service: &'static str,
    output: Arc<Output>,
    /// The number of invocations so far, saturating. Initialization and the first invocation are the cold start.
    invocations: AtomicU8,
}

impl JsonLines {
    pub(super) fn new(service: &'static str, output: Arc<Output>) -> Self {
        Self { service, output, invocations: AtomicU8::new(0) }
    }
}

impl<S> Layer<S> for JsonLines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() == super::INVOCATION {
            let _ = self
                .invocations
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |started| started.checked_add(1));
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut extensions = span.extensions_mut();
            if let Some(fields) = extensions.get_mut::<Fields>() {
                values.record(fields);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = Line::new();
        line.put("timestamp", &crate::clock::now());
        line.put("level", event.metadata().level().as_str());
        line.put("service", self.service);
        line.put("cold_start", &(self.invocations.load(Ordering::Relaxed) <= 1));
        line.put("target", event.metadata().target());
        line.put_all(&fields);
        if let Some(trace_id) = super::traces::current_trace_id() {
            line.put("trace_id", &trace_id);
        }
        let mut is_within_invocation = false;
        for span in context.event_scope(event).into_iter().flatten() {
            is_within_invocation |= span.name() == super::INVOCATION;
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.put_all(fields);
            }
        }
        if is_within_invocation && event.metadata().name() == super::LAST_LINE {
            self.output.hold(&line.end());
        } else {
            self.output.write(&line.end());
        }
    }
}

/// A log line. Of two fields with the same name it keeps the first, so a field of the event hides that of its spans.
struct Line {
    text: Vec<u8>,
    names: Vec<&'static str>,
}

impl Line {
    /// Creates a line with capacity for typical content.
    fn new() -> Self {
        Self { text: Vec::with_capacity(512), names: Vec::with_capacity(16) }
    }

    fn put(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        if self.names.contains(&name) {
            return;
        }
        let before = self.text.len();
        self.text.push(if before == 0 { b'{' } else { b',' });
        let written = serde_json::to_writer(&mut self.text, name).and_then(|()| {
            self.text.push(b':');
            serde_json::to_writer(&mut self.text, value)
        });
        match written {
            Ok(()) => self.names.push(name),
            // Not expected for logged values. Drop the field and keep the rest of the line.
            Err(_) => self.text.truncate(before),
        }
    }

    fn put_all(&mut self, fields: &Fields) {
        for (name, value) in &fields.0 {
            self.put(name, value);
        }
    }

    fn end(mut self) -> String {
        self.text.extend(b"}\n");
        String::from_utf8(self.text).unwrap_or_default()
    }
}

/// The fields of an event or a span as JSON values.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Sets a field, replacing an earlier value.
    fn set(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, held)) => *held = value,
            None => self.0.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}
