//! Traces: what is exported, and that a collector that fails has no effect on responses.

use crate::{PATH, World, assert_accepted, hello};
use serde_json::Value;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use testing::{Behaviour, Collector, Exported, Webhook, eventually};

/// Longer than a response takes on a busy machine.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

const RECORDED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn world(endpoint: &str, changes: &[(&'static str, &str)]) -> World {
    let mut all = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", EXPORT_TIMEOUT.as_millis().to_string()),
        ("STACK_NAME", "sms-test".to_owned()),
    ];
    all.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
    World::with(&all).await
}

fn is_server(span: &Exported) -> bool {
    span.name.starts_with("POST")
}

/// Returns the log lines about failed exports.
async fn failures(world: &World) -> Vec<Value> {
    let log = world.function.log().await;
    log.into_iter().filter(|line| line["message"] == "could not export traces").collect()
}

#[tokio::test]
async fn a_webhook_is_a_new_trace_that_its_queue_message_continues() {
    let collector = Collector::start().await;
    let mut world = world(collector.url(), &[]).await;
    assert_accepted(&world.post(&hello().header("traceparent", RECORDED)).await);
    let server = collector.named("inbound-sms", "POST /webhook/twilio/sms").await;
    assert_eq!(server.parent_id, "", "anyone can send a header to a function URL");
    let attributes = [
        ("faas.coldstart", "true"),
        ("faas.trigger", "http"),
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("http.route", "/webhook/twilio/sms"),
    ];
    for (name, value) in attributes {
        assert_eq!(server.attribute(name), value, "{name}");
    }
    assert!(!server.attribute("faas.invocation_id").is_empty());
    assert_eq!(server.resource["service.namespace"], "sms-test");
    assert_eq!(server.resource["faas.name"], "under-test");
    let sent = collector.named("inbound-sms", "send inbound").await;
    assert!(sent.is_child_of(&server), "{sent:?}");
    assert_eq!(
        (sent.attribute("messaging.system"), sent.attribute("messaging.operation.type")),
        ("aws_sqs", "send")
    );
    assert_eq!(world.sqs.sent()[0].traceparent, Some(sent.traceparent()));

    assert_accepted(&world.post(&hello()).await);
    let later =
        collector.span("a second trace", |span| is_server(span) && span.trace_id != server.trace_id).await;
    assert_eq!(later.attribute("faas.coldstart"), "false");
    let spans = format!("{:?}", collector.spans());
    for secret in ["hello", "2035550100", testing::AUTH_TOKEN, "hunter2"] {
        assert!(!spans.contains(secret), "{secret}");
    }
    assert_eq!(failures(&world).await, [Value::Null; 0]);
}

#[tokio::test]
async fn only_a_signed_url_continues_a_trace() {
    let collector = Collector::start().await;
    let mut world = world(collector.url(), &[]).await;
    let query = format!("traceparent={RECORDED}");
    let signed = Webhook::form(PATH, "MessageSid=SM1").query(&query).signed(&[("MessageSid", "SM1")]);
    assert_accepted(&world.post(&signed).await);
    let continued = collector.span("the signed request", is_server).await;
    assert_eq!(continued.traceparent()[..36], RECORDED[..36]);
    assert_eq!(continued.parent_id, RECORDED[36..52]);

    let forged = Webhook::form(PATH, "MessageSid=SM1").query(&query);
    assert_eq!(world.post(&forged).await["statusCode"], 403);
    let refused =
        collector.span("the forged request", |span| span.attribute("http.response.status_code") == "403");
    let refused = refused.await;
    assert_eq!((refused.name.as_str(), refused.parent_id.as_str()), ("POST", ""), "{refused:?}");
    assert_ne!(refused.trace_id, continued.trace_id);
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_is_continued_and_not_exported() {
    let collector = Collector::start().await;
    let mut world = world(collector.url(), &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]).await;
    assert_accepted(&world.post(&hello()).await);
    let traceparent = world.sqs.sent()[0].traceparent.clone().unwrap();
    assert!(traceparent.ends_with("-00"), "{traceparent}");
    assert_accepted(&world.post(&hello()).await);
    assert_eq!(collector.requests(), 0);
}

#[tokio::test]
async fn a_response_does_not_wait_for_a_collector_and_after_two_failures_none_is_called() {
    let collector = Collector::start().await;
    collector.behave(Behaviour::Hangs);
    let mut world = world(collector.url(), &[]).await;
    let begun = Instant::now();
    assert_accepted(&world.post(&hello()).await);
    assert!(begun.elapsed() < EXPORT_TIMEOUT, "{:?}", begun.elapsed());
    // The function is free again after the timeout.
    assert_accepted(&world.post(&hello()).await);
    assert!(begun.elapsed() >= EXPORT_TIMEOUT, "{:?}", begun.elapsed());
    eventually("the second failure", async || (failures(&world).await.len() == 2).then_some(())).await;
    let begun = Instant::now();
    for _ in 0..3 {
        assert_accepted(&world.post(&hello()).await);
    }
    assert!(begun.elapsed() < EXPORT_TIMEOUT, "{:?}", begun.elapsed());
    assert_eq!((collector.requests(), failures(&world).await.len()), (2, 2));
    assert_eq!(world.sqs.sent().len(), 5);
}

#[tokio::test]
async fn a_collector_that_fails_or_refuses_connections_costs_one_log_line_each_time() {
    let collector = Collector::start().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    collector.behave(Behaviour::Fails);
    for endpoint in [collector.url(), &format!("http://{free}")] {
        let mut world = world(endpoint, &[]).await;
        for _ in 0..4 {
            assert_accepted(&world.post(&hello()).await);
        }
        let failures = failures(&world).await;
        assert_eq!(failures.len(), 2, "{failures:?}");
        assert!(failures.iter().all(|line| line["level"] == "WARN" && line["spans"] == 2), "{failures:?}");
    }
    assert_eq!(collector.requests(), 2);
}

#[tokio::test]
async fn a_slow_collector_gets_the_spans() {
    let collector = Collector::start().await;
    collector.behave(Behaviour::Slow);
    let mut world = world(collector.url(), &[]).await;
    for _ in 0..3 {
        assert_accepted(&world.post(&hello()).await);
    }
    collector
        .span("the third webhook", |_| collector.spans().iter().filter(|span| is_server(span)).count() == 3)
        .await;
    assert_eq!(failures(&world).await, [Value::Null; 0]);
}

#[tokio::test]
async fn an_invalid_endpoint_is_reported_and_fails_no_event() {
    let mut world = world("not a url", &[]).await;
    for _ in 0..2 {
        assert_accepted(&world.post(&hello()).await);
    }
    world.logged("the error", |line| line["message"] == "could not set up the export of traces").await;
}
