//! Tests of the binary through the Runtime API. The validation that it shares with `inbound-sms` is tested there.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{AUTH_TOKEN, BASE_URL, Behaviour, Function, Sqs, Webhook, environment, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_delivery-status");
const PATH: &str = "/webhook/twilio/status";

async fn start(sqs: &Sqs) -> Function {
    let environment = [
        ("TWILIO_AUTH_TOKEN", AUTH_TOKEN),
        ("PUBLIC_WEBHOOK_BASE_URL", BASE_URL),
        ("STATUS_QUEUE_URL", &sqs.queue("status")),
        ("INBOUND_QUEUE_URL", &sqs.queue("inbound")),
        ("AWS_ENDPOINT_URL_SQS", sqs.url()),
        ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x"),
    ];
    Function::start(BINARY, &environment).await
}

#[tokio::test]
async fn a_callback_is_queued_with_the_message_id_of_its_url() {
    let sqs = Sqs::start().await;
    let mut function = start(&sqs).await;
    let events = [
        (include_str!("../../events/post-form.json"), "message_id=019ab0c1-7b00-7000-8000-000000000001"),
        (
            include_str!("../../events/post-json.json"),
            "message_id=019ab0c1-7b00-7000-8000-000000000001&bodySHA256=",
        ),
    ];
    for (place, (event, query)) in events.into_iter().enumerate() {
        let reply = function.call(serde_json::from_str(event).unwrap()).await;
        assert_eq!((&reply["statusCode"], &reply["body"]), (&json!(200), &json!("")), "{reply}");
        assert!(reply["headers"]["x-request-id"].is_string());
        let sent = &sqs.sent()[place];
        assert_eq!(sent.queue_url, sqs.queue("status"));
        assert!(sent.body["query"].as_str().unwrap().starts_with(query), "{}", sent.body);
        let form = sent.body["form"].as_str().unwrap();
        assert!(
            form.starts_with("ErrorCode=30003&ApiVersion=2010-04-01&MessageStatus=undelivered&"),
            "{form}"
        );
        assert_eq!(form.split('&').count(), 10);
    }
}

#[tokio::test]
async fn the_query_of_a_signed_get_is_its_form() {
    let sqs = Sqs::start().await;
    let mut function = start(&sqs).await;
    let event: Value = serde_json::from_str(include_str!("../../events/get.json")).unwrap();
    let reply = function.call(event).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let body = &sqs.sent()[0].body;
    assert_eq!(body.get("query"), None);
    let form = body["form"].as_str().unwrap();
    assert!(form.starts_with("message_id=019ab0c1-7b00-7000-8000-000000000001&ErrorCode=30003&"), "{form}");
}

#[tokio::test]
async fn an_inbound_message_at_this_url_goes_to_its_own_queue_and_is_logged() {
    let sqs = Sqs::start().await;
    let mut function = start(&sqs).await;
    let form = [("MessageSid", "SM1"), ("SmsStatus", "received"), ("Body", "STOP"), ("NumMedia", "0")];
    let body = "MessageSid=SM1&SmsStatus=received&Body=STOP&NumMedia=0";
    let as_json = r#"{"MessageSid":"SM1","Body":"STOP"}"#;
    // The hash was computed with sha256sum.
    let hash = "bodySHA256=c63f7b0d423a97902a7686bfc7d57170539d0525a4209c0056f43ffc9a7b9f5f";
    let webhooks = [
        Webhook::form(PATH, body).signed(&form),
        Webhook::get(PATH, body).signed_url(),
        Webhook::form(PATH, as_json).header("content-type", "application/json").query(hash).signed_url(),
    ];
    for webhook in &webhooks {
        let reply = function.call(webhook.event()).await;
        assert_eq!((&reply["statusCode"], &reply["body"]), (&json!(200), &json!("")), "{webhook:?}");
    }
    let sent = sqs.sent();
    assert_eq!(sent.len(), 3);
    for sent in &sent {
        assert_eq!(sent.queue_url, sqs.queue("inbound"));
        assert!(sent.body["form"].as_str().unwrap().contains("Body=STOP"), "{}", sent.body);
    }
    eventually("a metric", async || {
        let log = function.log().await;
        log.iter().any(|line| line["webhooks_misrouted"] == 1.0).then_some(())
    })
    .await;
    sqs.behave(Behaviour::Fails);
    let reply = function.call(Webhook::form(PATH, body).signed(&form).event()).await;
    assert_eq!(reply["statusCode"], 503, "a STOP that was not stored must not get a 200");
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let sqs = Sqs::start().await;
    let mut function = start(&sqs).await;
    let cases = [
        (Webhook::form(PATH, "MessageSid=SM1&MessageStatus=sent"), 403),
        (Webhook::form(PATH, "x".repeat(70_000)), 413),
        (Webhook::form(PATH, "MessageStatus=sent").signed(&[("MessageStatus", "sent")]), 400),
        (Webhook::form(PATH, "MessageSid=SM1").signed(&[("MessageSid", "SM1")]).query("message_id=1"), 403),
    ];
    for (webhook, status) in cases {
        assert_eq!(function.call(webhook.event()).await["statusCode"], status, "{webhook:?}");
    }
    assert_eq!(sqs.sent(), []);
}

#[tokio::test]
async fn a_callback_that_cannot_be_stored_is_503() {
    let sqs = Sqs::start().await;
    let mut function = start(&sqs).await;
    sqs.behave(Behaviour::Fails);
    let webhook = Webhook::form(PATH, "MessageSid=SM1").signed(&[("MessageSid", "SM1")]);
    assert_eq!(function.call(webhook.event()).await["statusCode"], 503);
}

#[tokio::test]
async fn missing_queue_urls_are_reported() {
    let log = json!(Function::start(BINARY, &[]).await.ended().await).to_string();
    for queue in ["STATUS_QUEUE_URL is missing", "INBOUND_QUEUE_URL is missing"] {
        assert!(log.contains(queue), "{log}");
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<delivery_status::Config>("delivery-status", Duration::ZERO, environment::WEBHOOK);
}
