//! Status callbacks, retries and the fallback URL.

use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::StatusCode;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::support::{ACCOUNT, HANDSET, Hit, NUMBER, SERVICE, TOKEN, WebhookServer, World, config};

#[tokio::test]
async fn status_callbacks_have_twilios_order_and_parameters() {
    let server = WebhookServer::start().await;
    let world = World::start(config(&server.url)).await;
    let callback = format!("{}/status?message_id=7&a=b%20c", server.url);
    let (_, message) = world.created(&[("StatusCallback", &callback)]).await;
    let hits = server.wait(2).await;
    let statuses: Vec<_> = hits.iter().map(|hit| hit.get("MessageStatus")).collect();
    assert_eq!(statuses, ["sent", "delivered"]);
    let last = &hits[1];
    assert_eq!(last.path, "/status?message_id=7&a=b%20c");
    let sid = message["sid"].as_str().unwrap();
    let expected = [
        ("MessageSid", sid),
        ("SmsSid", sid),
        ("SmsStatus", "delivered"),
        ("AccountSid", ACCOUNT),
        ("From", NUMBER),
        ("To", HANDSET),
        ("ApiVersion", "2010-04-01"),
        ("ErrorCode", ""),
    ];
    for (key, value) in expected {
        assert_eq!(last.get(key), value, "{key}");
    }
    assert_eq!(last.get("RawDlrDoneDate").len(), 10);
    assert_eq!(last.headers["content-type"], "application/x-www-form-urlencoded; charset=UTF-8");
    assert!(last.headers.contains_key("x-twilio-signature"));
    assert_ne!(hits[0].headers["i-twilio-idempotency-token"], last.headers["i-twilio-idempotency-token"]);
}

/// Returns the signature of a request: HMAC-SHA1 over the URL and the sorted parameters.
fn signature(token: &str, url: &str, hit: &Hit) -> String {
    let mut form = hit.form.clone();
    form.sort();
    let text = form.into_iter().fold(url.to_owned(), |text, (key, value)| text + &key + &value);
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn webhooks_are_signed_with_the_first_of_the_current_tokens() {
    let server = WebhookServer::start().await;
    let world = World::start(config(&server.url)).await;
    world.text(HANDSET, "hello").await;
    let url = format!("{}/simulator/credentials", world.simulator.url());
    let replaced = json!({ "auth_tokens": ["the next token", TOKEN] });
    assert_eq!(world.client.put(url).json(&replaced).send().await.unwrap().status(), 204);
    world.text(HANDSET, "hello again").await;
    let hits = server.hits();
    assert_eq!(hits.len(), 2);
    for (hit, token) in hits.iter().zip([TOKEN, "the next token"]) {
        assert_eq!(hit.headers["x-twilio-signature"], signature(token, &server.url, hit), "{token}");
    }
}

#[tokio::test]
async fn a_messaging_service_also_reports_queued() {
    let server = WebhookServer::start().await;
    let world = World::start(config(&server.url).with_messaging_service(SERVICE, vec![])).await;
    world.created(&[("MessagingServiceSid", SERVICE), ("StatusCallback", &server.url)]).await;
    assert_eq!(server.wait_for("MessageStatus", 3).await, ["queued", "sent", "delivered"]);
    assert_eq!(server.hits()[0].get("MessagingServiceSid"), SERVICE);
    assert_eq!(server.hits()[0].get("From"), NUMBER);
}

#[tokio::test]
async fn a_failed_message_has_an_error_code_and_does_not_reach_the_handset() {
    let server = WebhookServer::start().await;
    let world = World::start(config(&server.url)).await;
    for (to, statuses, code) in
        [("+15005630008", &["sent", "undelivered"][..], "30008"), ("+15005830002", &["failed"][..], "30002")]
    {
        let before = server.hits().len();
        world.created(&[("To", to), ("StatusCallback", &server.url)]).await;
        let got = server.wait_for("MessageStatus", before + statuses.len()).await;
        assert_eq!(got[before..], *statuses);
        assert_eq!(server.hits().last().unwrap().get("ErrorCode"), code);
        assert!(world.received(to).await.is_empty());
    }
}

/// Creates a message with a callback fault and returns the statuses of its callbacks.
async fn in_mode(fault: Value, count: usize) -> Vec<String> {
    let server = WebhookServer::start().await;
    let world = World::start(config(&server.url)).await;
    world.fault(json!({ "fault": fault })).await;
    let (_, message) = world.created(&[("StatusCallback", &server.url)]).await;
    world.reaches(message["sid"].as_str().unwrap(), "delivered").await;
    let statuses = server.wait_for("MessageStatus", count).await;
    assert_eq!(world.received(HANDSET).await.len(), 1);
    statuses
}

#[tokio::test]
async fn a_fault_doubles_reorders_omits_or_delays_callbacks() {
    let of = |mode| json!({ "kind": "callbacks", "mode": mode });
    assert_eq!(in_mode(of("doubled"), 4).await, ["sent", "sent", "delivered", "delivered"]);
    assert_eq!(in_mode(of("reordered"), 2).await, ["delivered", "sent"]);
    let some = json!({ "kind": "callbacks", "mode": "lost", "statuses": ["sent"] });
    assert_eq!(in_mode(some, 1).await, ["delivered"]);
    assert!(in_mode(of("lost"), 0).await.is_empty());
    let late = json!({ "kind": "callbacks", "mode": "late", "delay_ms": 30 });
    assert_eq!(in_mode(late, 2).await, ["sent", "delivered"]);
}

#[tokio::test]
async fn early_callbacks_arrive_before_the_create_response() {
    let server = WebhookServer::start().await;
    let world = World::start(config(&server.url)).await;
    world.created(&[("To", "+15005550264"), ("StatusCallback", &server.url)]).await;
    assert_eq!(server.hits().len(), 2);
}

#[tokio::test]
async fn a_webhook_is_retried_with_the_same_idempotency_token() {
    let server = WebhookServer::responding(|_, before| match before {
        0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        1 => StatusCode::NOT_FOUND.into_response(),
        _ => ().into_response(),
    })
    .await;
    let world = World::start(config(&format!("{}/in#rc=5&rp=all", server.url))).await;
    let sent = world.text(HANDSET, "hello").await;
    assert_eq!((&sent["webhook"]["delivered"], &sent["webhook"]["status"]), (&json!(true), &json!(200)));
    let hits = server.wait(3).await;
    let tokens: Vec<_> = hits.iter().map(|hit| &hit.headers["i-twilio-idempotency-token"]).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(hits[2].path, "/in", "the fragment is not sent");
}

#[tokio::test]
async fn without_overrides_a_failed_webhook_uses_the_fallback_url() {
    let server = WebhookServer::responding(|hit, _| match hit.path.as_str() {
        "/in" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => ().into_response(),
    })
    .await;
    let mut settings = config(&format!("{}/in", server.url));
    settings.numbers[0].fallback_url = Some(format!("{}/fallback", server.url));
    let world = World::start(settings).await;
    let sent = world.text(HANDSET, "hello").await;
    assert_eq!(sent["webhook"]["delivered"], true);
    let hits = server.hits();
    assert_eq!(hits.iter().map(|hit| hit.path.as_str()).collect::<Vec<_>>(), ["/in", "/fallback"]);
    assert_eq!(hits[1].get("ErrorCode"), "11200");
    assert_eq!(hits[1].get("ErrorUrl"), format!("{}/in", server.url));
    assert_eq!(hits[0].get("Body"), hits[1].get("Body"));
}
