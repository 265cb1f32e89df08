//! Status callbacks, in order and out of it.

use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::support::{ACCOUNT, HANDSET, OURS, SERVICE, Site, World, config};

#[tokio::test]
async fn callbacks_come_in_twilios_order_with_its_parameters() {
    let site = Site::start().await;
    let world = World::start(config(&site.url)).await;
    let callback = format!("{}/status?message_id=7&a=b%20c", site.url);
    let (_, message) = world.created(&[("StatusCallback", &callback)]).await;
    let hits = site.wait(2).await;
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
        ("From", OURS),
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

#[tokio::test]
async fn a_messaging_service_reports_queued_too() {
    let site = Site::start().await;
    let world = World::start(config(&site.url).with_messaging_service(SERVICE, vec![])).await;
    world.created(&[("MessagingServiceSid", SERVICE), ("StatusCallback", &site.url)]).await;
    assert_eq!(site.wait_for("MessageStatus", 3).await, ["queued", "sent", "delivered"]);
    assert_eq!(site.hits()[0].get("MessagingServiceSid"), SERVICE);
    assert_eq!(site.hits()[0].get("From"), OURS);
}

#[tokio::test]
async fn a_failure_carries_its_code_and_never_reaches_the_handset() {
    let site = Site::start().await;
    let world = World::start(config(&site.url)).await;
    for (to, statuses, code) in
        [("+15005630008", &["sent", "undelivered"][..], "30008"), ("+15005830002", &["failed"][..], "30002")]
    {
        let before = site.hits().len();
        world.created(&[("To", to), ("StatusCallback", &site.url)]).await;
        let got = site.wait_for("MessageStatus", before + statuses.len()).await;
        assert_eq!(got[before..], *statuses);
        assert_eq!(site.hits().last().unwrap().get("ErrorCode"), code);
        assert!(world.received(to).await.is_empty());
    }
}

/// Creates a message with its callbacks in `mode` and gives what came back.
async fn in_mode(fault: Value, count: usize) -> Vec<String> {
    let site = Site::start().await;
    let world = World::start(config(&site.url)).await;
    world.fault(json!({ "fault": fault })).await;
    let (_, message) = world.created(&[("StatusCallback", &site.url)]).await;
    world.reaches(message["sid"].as_str().unwrap(), "delivered").await;
    // The next message is reported in order again, and after all of the first one's.
    let statuses = site.wait_for("MessageStatus", count).await;
    assert_eq!(world.received(HANDSET).await.len(), 1);
    statuses
}

#[tokio::test]
async fn callbacks_are_doubled_turned_round_or_lost_on_request() {
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
async fn early_callbacks_have_all_arrived_when_create_answers() {
    let site = Site::start().await;
    let world = World::start(config(&site.url)).await;
    world.created(&[("To", "+15005550264"), ("StatusCallback", &site.url)]).await;
    assert_eq!(site.hits().len(), 2);
}

#[tokio::test]
async fn a_webhook_is_tried_again_as_its_fragment_says_with_one_token() {
    let site = Site::answering(|_, before| match before {
        0 => http::StatusCode::SERVICE_UNAVAILABLE.into_response(),
        1 => http::StatusCode::NOT_FOUND.into_response(),
        _ => ().into_response(),
    })
    .await;
    let world = World::start(config(&format!("{}/in#rc=5&rp=all", site.url))).await;
    let sent = world.text(HANDSET, "hello").await;
    assert_eq!((&sent["webhook"]["delivered"], &sent["webhook"]["status"]), (&json!(true), &json!(200)));
    let hits = site.wait(3).await;
    let tokens: Vec<_> = hits.iter().map(|hit| &hit.headers["i-twilio-idempotency-token"]).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(hits[2].path, "/in", "the fragment is for Twilio alone");
}

#[tokio::test]
async fn without_overrides_a_refused_webhook_goes_to_the_fallback() {
    let site = Site::answering(|hit, _| match hit.path.as_str() {
        "/in" => http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => ().into_response(),
    })
    .await;
    let mut settings = config(&format!("{}/in", site.url));
    settings.numbers[0].fallback_url = Some(format!("{}/fallback", site.url));
    let world = World::start(settings).await;
    let sent = world.text(HANDSET, "hello").await;
    assert_eq!(sent["webhook"]["delivered"], true);
    let hits = site.hits();
    assert_eq!(hits.iter().map(|hit| hit.path.as_str()).collect::<Vec<_>>(), ["/in", "/fallback"]);
    assert_eq!(hits[1].get("ErrorCode"), "11200");
    assert_eq!(hits[1].get("ErrorUrl"), format!("{}/in", site.url));
    assert_eq!(hits[0].get("Body"), hits[1].get("Body"));
}
