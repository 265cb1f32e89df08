//! One trace from the first request to the last function, with the built functions and a collector.

use serde_json::json;
use testing::{Collector, Exported, SpanKind};

use crate::client::{fresh_handset, fresh_sid};
use crate::stack::{Setup, Stack};

/// The context of a caller.
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

const BODY: &str = "The heating inspector rings twice";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_one_trace_from_its_first_request_to_its_last_function() {
    let collector = Collector::start().await;
    let setup = Setup::fast()
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", "10000");
    let stack = setup.start().await;
    let handset = fresh_handset();
    check_inbound(&stack, &collector, &handset).await;
    check_outbound(&stack, &collector, &handset).await;
    let spans = format!("{:?}", collector.spans());
    for private in
        [BODY, handset.trim_start_matches('+'), &stack.info.auth_token, stack.info.api_key.as_ref().unwrap()]
    {
        assert!(!spans.contains(private), "{private}");
    }
    stack.wait_for_empty_queues().await;
}

/// Returns the span of a message that was sent to a queue. A function may send to `[events]` as well.
async fn sent_to(collector: &Collector, queue: &str, parent: &Exported) -> Exported {
    let name = format!("send {queue}");
    let is_sent =
        |span: &Exported| span.is_child_of(parent) && span.kind == SpanKind::Producer && span.name == name;
    collector.span(&format!("{name:?} below {:?}", parent.name), is_sent).await
}

/// Returns the consumer that processed a sent message: the first span of its batch, or the record's own span.
async fn consumer(collector: &Collector, sent: &Exported, service: &str) -> Exported {
    let consumer = collector.child(sent, service, SpanKind::Consumer).await;
    assert_eq!(consumer.name, sent.name.replacen("send", "process", 1));
    consumer
}

async fn check_inbound(stack: &Stack, collector: &Collector, handset: &str) {
    let webhook = stack.inbound_webhook(handset, &fresh_sid(), BODY);
    stack.deliver_webhook(&webhook).await;
    let server = collector.named("inbound-sms", "POST /webhook/twilio/sms").await;
    assert_eq!((server.kind, server.parent_id.as_str()), (SpanKind::Server, ""), "Twilio sends no context");
    let sent = sent_to(collector, "InboundQueue", &server).await;
    let stored = consumer(collector, &sent, "record-inbound").await;
    let statement = collector.child(&stored, "record-inbound", SpanKind::Client).await;
    assert_eq!(statement.attribute("db.system.name"), "postgresql");
    let identify = sent_to(collector, "IdentifyQueue", &stored).await;
    let identified = consumer(collector, &identify, "identify-tenant").await;
    let lookup = |span: &Exported| span.is_child_of(&identified) && span.name == "GET /tenants/lookup";
    collector.span("the lookup at the Monitor", lookup).await;
}

async fn check_outbound(stack: &Stack, collector: &Collector, handset: &str) {
    let key = fresh_sid();
    let call = || {
        stack
            .api_request("POST", "/sms/send")
            .header("idempotency-key", &key)
            .header("traceparent", format!("00-{TRACE_ID}-{CALLER}-01"))
            .header("tracestate", "vendor=value")
            .json(&json!({ "to": handset, "body": BODY }))
    };
    let response = stack.response_to(call).await;
    assert_eq!(response.status, 202, "{response:?}");
    let id = response.json()["id"].as_str().unwrap().to_owned();
    stack.wait_for_status(&id, "delivered").await;

    let accepted = |span: &Exported| {
        span.name == "POST /sms/send" && span.attribute("http.response.status_code") == "202"
    };
    let server = collector.span("the API request", accepted).await;
    assert_eq!((server.trace_id.as_str(), server.parent_id.as_str()), (TRACE_ID, CALLER));
    assert_eq!((server.kind, server.trace_state.as_str()), (SpanKind::Server, "vendor=value"));
    let statement = collector.child(&server, "send-sms", SpanKind::Client).await;
    assert_eq!(statement.attribute("db.system.name"), "postgresql");
    let queued = sent_to(collector, "OutboundQueue", &server).await;
    let processed = consumer(collector, &queued, "send-outbound").await;
    // A sweep may have claimed the message before: then the send continues the stored context of the request.
    let is_send = |span: &Exported| span.name == "send message" && span.attribute("sms.message_id") == id;
    let send = collector.span("the send", is_send).await;
    assert!(send.is_child_of(&processed) || send.is_child_of(&server), "{send:?}");
    let create = "POST /2010-04-01/Accounts/{AccountSid}/Messages.json";
    let is_create = |span: &Exported| span.is_child_of(&send) && span.name == create;
    collector.span("the call to Twilio", is_create).await;

    // Twilio calls back for `sent` and `delivered`.
    let callbacks = async || {
        let spans = collector.spans();
        let of_send = |span: &Exported| span.is_child_of(&send) && span.name == "POST /webhook/twilio/status";
        let callbacks: Vec<_> = spans.into_iter().filter(of_send).collect();
        (callbacks.len() >= 2).then_some(callbacks)
    };
    for callback in testing::eventually("two status callbacks are traced", callbacks).await {
        assert_eq!((callback.service.as_str(), callback.kind), ("delivery-status", SpanKind::Server));
        let queued = sent_to(collector, "StatusQueue", &callback).await;
        let recorded = consumer(collector, &queued, "record-status").await;
        assert_eq!(recorded.trace_id, TRACE_ID);
    }
}
