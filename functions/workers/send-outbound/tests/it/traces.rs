//! Traces of sends.

use crate::twilio::Reply;
use crate::{BODY, World, batch, new_send, send};
use common::db::sends::NewSend;
use testing::{Collector, Exported};

const STORED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn is_send(span: &Exported) -> bool {
    span.name == "send message"
}

async fn traced(world: &World, collector: &Collector) -> testing::Function {
    let timeout = ("OTEL_EXPORTER_OTLP_TIMEOUT", "20000");
    world.function_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), timeout]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_without_a_queue_context_continues_the_stored_trace_to_twilio_and_the_callback() {
    let (world, collector) = (World::start().await, Collector::start().await);
    let mut function = traced(&world, &collector).await;
    let id = world.stored(NewSend { trace_context: Some(format!("{STORED} vendor=1")), ..new_send() }).await;
    send(&mut function, [id]).await;
    let sent = collector.span("the send", is_send).await;
    assert_eq!(
        (sent.traceparent()[..36].to_owned(), sent.parent_id.as_str()),
        (STORED[..36].to_owned(), &STORED[36..52])
    );
    assert_eq!(sent.trace_state, "vendor=1");
    assert_eq!(
        (sent.attribute("sms.message_id"), sent.attribute("sms.attempt")),
        (id.to_string().as_str(), "1")
    );
    let invocation = collector.span("the batch", |span| span.name.starts_with("process")).await;
    assert_eq!(
        (sent.links.as_slice(), invocation.parent_id.as_str()),
        (&[invocation.span_id.clone()][..], "")
    );
    let path = "/2010-04-01/Accounts/{AccountSid}/Messages.json";
    let call = collector.named("send-outbound", &format!("POST {path}")).await;
    assert!(call.is_child_of(&sent), "{call:?}");
    assert_eq!((call.attribute("url.template"), call.attribute("http.response.status_code")), (path, "201"));
    let callback = world.twilio.requests()[0].value("StatusCallback").unwrap().to_owned();
    assert!(
        callback.ends_with(&format!("?message_id={id}&traceparent={}#rc=5&rp=all", sent.traceparent())),
        "{callback}"
    );
    let spans = format!("{:?}", collector.spans());
    for secret in [BODY, crate::TO, &crate::FROM[1..], crate::TOKEN, crate::ACCOUNT] {
        assert!(!spans.contains(secret), "{secret}: {spans}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_a_failed_span_and_untraced_messages_have_no_context_in_their_url() {
    let (world, collector) = (World::start().await, Collector::start().await);
    let mut function = traced(&world, &collector).await;
    world.twilio.replies([Reply::Refuse(400, 21211, None)]);
    let ids = [world.message().await];
    let mut event = batch(&ids);
    let not_sampled = STORED.replace("-01", "-00");
    event["Records"][0]["messageAttributes"]["traceparent"] =
        serde_json::json!({"dataType": "String", "stringValue": not_sampled});
    assert!(testing::failed(&function.call(event).await).is_empty());
    let callback = world.twilio.requests()[0].value("StatusCallback").unwrap().to_owned();
    assert!(!callback.contains("traceparent"), "{callback}");
    assert_eq!(collector.requests(), 0);

    world.twilio.replies([Reply::Refuse(400, 21211, None)]);
    let id = world.message().await;
    send(&mut function, [id]).await;
    let call = collector.span("the call", |span| span.name.starts_with("POST /2010")).await;
    assert!(call.has_failed);
    assert_eq!((call.attribute("error.type"), call.attribute("http.response.status_code")), ("400", "400"));
}
