//! The spans of sending and of processing messages.

use super::REQUEST_ID;
use crate::telemetry::traces::{self, Kind, Span, TRACEPARENT, TRACESTATE, TraceContext};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use std::collections::HashMap;

/// Starts the span of sending messages to a queue.
pub(super) fn send(queue_url: &str, messages: usize) -> Span {
    let queue = last_segment(queue_url, '/');
    let span = Span::child(Kind::Producer, || format!("send {queue}").into());
    describe(&span, queue, "send", messages);
    span
}

fn describe(span: &Span, queue: &str, operation: &str, messages: usize) {
    if span.is_recorded() {
        span.set("messaging.system", "aws_sqs");
        span.set("messaging.operation.name", operation);
        span.set("messaging.operation.type", operation);
        span.set("messaging.destination.name", queue);
        span.set_number("messaging.batch.message_count", i64::try_from(messages).unwrap_or(i64::MAX));
    }
}

fn last_segment(text: &str, separator: char) -> &str {
    text.rsplit_once(separator).map_or(text, |(_, last)| last)
}

/// The spans of a batch.
///
/// A batch of one record, or of records with one parent, has one span, a child of that parent. Otherwise each record
/// has a span, and what is done for all of them together, such as the statement that stores them, belongs to another
/// span, of the records' trace or of a new one. These spans link to each other.
pub(super) struct BatchSpans {
    shared: Span,
    /// The spans of the records, with SQS's message ids.
    records: Vec<(String, Span)>,
    requests: HashMap<String, TraceContext>,
}

impl BatchSpans {
    pub(super) fn start(event: &SqsEvent) -> Self {
        let queue = event.records.first().and_then(|record| record.event_source_arn.as_deref());
        let queue = last_segment(queue.unwrap_or_default(), ':');
        let name = format!("process {queue}");
        let parents: Vec<TraceContext> = event.records.iter().filter_map(parent).collect();
        let all = |is_same: fn(&TraceContext, &TraceContext) -> bool| {
            parents.len() == event.records.len() && parents.windows(2).all(|two| is_same(&two[0], &two[1]))
        };
        let has_one_parent = all(|one, other| one == other);
        let parent_of_all = parents.first().filter(|_| all(|one, other| one.trace_id() == other.trace_id()));
        let links = if has_one_parent { &[][..] } else { &parents[..] };
        let shared = Span::of_invocation(Kind::Consumer, "pubsub", name.clone(), parent_of_all, links);
        describe(&shared, queue, "process", event.records.len());
        let mut spans = Self { shared, records: Vec::new(), requests: HashMap::new() };
        if has_one_parent {
            return spans;
        }
        for record in &event.records {
            let Some(parent) = parent(record) else { continue };
            let id = record.message_id.clone().unwrap_or_default();
            let span = spans.shared.in_scope(|| Span::linked(Kind::Consumer, name.clone(), &parent));
            describe(&span, queue, "process", 1);
            span.set("messaging.message.id", &id);
            let request_id = attribute(record, REQUEST_ID).unwrap_or(&id).to_owned();
            spans.requests.extend(span.context().map(|context| (request_id, context)));
            spans.records.push((id, span));
        }
        spans
    }

    /// Processes the batch within its spans.
    pub(super) async fn wrap<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.shared.wrap_requests(std::mem::take(&mut self.requests), work).await
    }

    /// Marks the failed records.
    pub(super) fn end(self, response: &SqsBatchResponse) {
        let failures = &response.batch_item_failures;
        for (id, span) in &self.records {
            if failures.iter().any(|failure| failure.item_identifier == *id) {
                span.fail("record_failed");
            }
        }
        if !failures.is_empty() {
            self.shared.fail("record_failed");
        }
    }
}

fn parent(record: &SqsMessage) -> Option<TraceContext> {
    TraceContext::parse(attribute(record, TRACEPARENT)?, attribute(record, TRACESTATE))
}

fn attribute<'a>(record: &'a SqsMessage, name: &str) -> Option<&'a str> {
    record.message_attributes.get(name)?.string_value.as_deref()
}

/// Returns the attributes with the context of a message that is sent within `span`.
pub(super) fn context(request_id: &str, span: &Span) -> Vec<(&'static str, String)> {
    let Some(context) = span.in_scope(|| traces::of_request(request_id)) else { return Vec::new() };
    let state = context.tracestate().map(|state| (TRACESTATE, state.to_owned()));
    [(TRACEPARENT, context.traceparent().to_owned())].into_iter().chain(state).collect()
}
