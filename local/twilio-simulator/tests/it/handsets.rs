//! Handsets: inbound messages, received texts, opt-outs and the journal.

use axum::response::IntoResponse;
use serde_json::json;

use crate::support::{ACCOUNT, DEADLINE, HANDSET, NUMBER, SERVICE, WebhookServer, World, config, eventually};

#[tokio::test]
async fn an_inbound_webhook_has_twilios_parameters() {
    let server = WebhookServer::start().await;
    let world =
        World::start(config(&format!("{}/in?x=1", server.url)).with_messaging_service(SERVICE, vec![])).await;
    let path = format!("/simulator/handsets/{HANDSET}/messages");
    let text = json!({
        "to": NUMBER, "body": "¿Hay agua? 💧", "media_urls": ["https://example.com/leak.png"],
        "params": { "FromCity": "NEW HAVEN", "Later": "" },
    });
    let (status, sent) = world.post_json(&path, text).await;
    assert_eq!((status, &sent["delivered"], &sent["replies"]), (200, &json!(1), &json!([])));
    let hit = server.hits().remove(0);
    let sid = sent["message_sid"].as_str().unwrap();
    let expected = [
        ("MessageSid", sid),
        ("SmsSid", sid),
        ("SmsMessageSid", sid),
        ("AccountSid", ACCOUNT),
        ("From", HANDSET),
        ("To", NUMBER),
        ("Body", "¿Hay agua? 💧"),
        ("NumMedia", "1"),
        ("NumSegments", "1"),
        ("SmsStatus", "received"),
        ("ApiVersion", "2010-04-01"),
        ("MessagingServiceSid", SERVICE),
        ("FromCity", "NEW HAVEN"),
        ("MediaUrl0", "https://example.com/leak.png"),
        ("MediaContentType0", "image/png"),
        ("FromCountry", "US"),
    ];
    for (key, value) in expected {
        assert_eq!(hit.get(key), value, "{key}");
    }
    assert!(hit.form.contains(&("Later".to_owned(), String::new())));
    assert_eq!(hit.path, "/in?x=1");
    assert!(sid.starts_with("MM"));
    let fetched = world.get(&format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json")).await;
    assert_eq!((&fetched["direction"], &fetched["status"]), (&json!("inbound"), &json!("received")));
}

#[tokio::test]
async fn repeat_sends_the_same_webhook_concurrently() {
    let server = WebhookServer::start().await;
    let world = World::start(config(&server.url)).await;
    let path = format!("/simulator/handsets/{HANDSET}/messages");
    let (_, sent) = world.post_json(&path, json!({ "body": "hi", "repeat": 20 })).await;
    assert_eq!(sent["delivered"], 20);
    let hits = server.hits();
    assert_eq!(hits.len(), 20);
    assert!(hits.iter().all(|hit| hit.get("MessageSid") == hits[0].get("MessageSid")));
}

#[tokio::test]
async fn a_stop_gets_a_notice_and_blocks_messages_until_start() {
    let server = WebhookServer::start().await;
    let mut settings = config(&server.url);
    settings.advanced_opt_out = true;
    let world = World::start(settings).await;
    assert_eq!(world.created(&[]).await.0, 201);
    let sent = world.text(HANDSET, " Stop ").await;
    assert_eq!(sent["opt_out"], "STOP");
    assert!(sent["replies"][0].as_str().unwrap().contains("unsubscribed"));
    assert_eq!(server.hits()[0].get("OptOutType"), "STOP");
    let (status, error) = world.created(&[]).await;
    assert_eq!((status, &error["code"]), (400, &json!(21610)));
    assert_eq!(world.created(&[("To", "+12035559999")]).await.0, 201, "other handsets are not affected");
    assert_eq!(world.text(HANDSET, "stop").await["replies"], json!([]), "a second STOP gets no notice");
    assert_eq!(world.get("/simulator/handsets").await[0]["opted_out_of"], json!([NUMBER]));
    assert_eq!(world.text(HANDSET, "UNSTOP").await["opt_out"], "START");
    assert_eq!(world.created(&[]).await.0, 201);
    assert_eq!(world.text(HANDSET, "stop it please").await["opt_out"], json!(null));
}

#[tokio::test]
async fn after_a_stop_messages_of_the_messaging_service_fail() {
    let server = WebhookServer::start().await;
    let world =
        World::start(config("http://127.0.0.1:1/#rc=0").with_messaging_service(SERVICE, vec![])).await;
    world.text(HANDSET, "STOP").await;
    let (status, _) =
        world.created(&[("MessagingServiceSid", SERVICE), ("StatusCallback", &server.url)]).await;
    assert_eq!(status, 201);
    let hit = server.wait(1).await.remove(0);
    assert_eq!((hit.get("MessageStatus"), hit.get("ErrorCode")), ("failed", "21610"));
    assert_eq!(world.received(HANDSET).await.len(), 1, "only the notice");
}

#[tokio::test]
async fn a_twiml_reply_reaches_the_handset() {
    let server = WebhookServer::responding(|_, _| {
        let twiml = "<Response><Message>We heard &lt;you&gt;</Message></Response>";
        ([("content-type", "text/xml")], twiml).into_response()
    })
    .await;
    let world = World::start(config(&server.url)).await;
    assert_eq!(world.text(HANDSET, "hi").await["replies"], json!(["We heard <you>"]));
    assert_eq!(world.received(HANDSET).await, ["We heard <you>"]);
}

#[tokio::test]
async fn an_unreachable_webhook_sets_error_11205() {
    let world = World::start(config("http://127.0.0.1:1/")).await;
    let sent = world.text(HANDSET, "hi").await;
    assert_eq!((&sent["delivered"], &sent["message"]["error_code"]), (&json!(0), &json!(11205)));
    assert_eq!(sent["webhook"]["attempts"].as_array().unwrap().len(), 2, "one retry by default");
    let (status, error) =
        world.post_json(&format!("/simulator/handsets/{HANDSET}/messages"), json!({ "to": "+1999" })).await;
    assert_eq!((status, &error["error"]), (404, &json!("+1999 is not one of this account's numbers")));
}

#[tokio::test]
async fn a_restart_keeps_messages_and_resumes_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("deep/journal.jsonl");
    let mut settings = config("http://127.0.0.1:1/");
    settings.journal = Some(journal.clone());
    let world = World::start(settings.clone()).await;
    let (_, done) = world.created(&[("Body", "done")]).await;
    world.reaches(done["sid"].as_str().unwrap(), "delivered").await;
    world.text("+12035559999", "STOP").await;
    world.simulator.shutdown().await;

    let mut slow = settings.clone();
    slow.delays.sent = std::time::Duration::from_secs(3600);
    let world = World::start(slow).await;
    let (_, waiting) = world.created(&[("Body", "waiting")]).await;
    world.simulator.shutdown().await;
    // A crash during a write leaves an incomplete line.
    use std::io::Write as _;
    std::fs::OpenOptions::new().append(true).open(&journal).unwrap().write_all(b"{\"mess").unwrap();

    let world = World::start(settings).await;
    world.reaches(waiting["sid"].as_str().unwrap(), "delivered").await;
    assert_eq!(world.received(HANDSET).await, ["done", "waiting"]);
    assert_eq!(world.created(&[("To", "+12035559999")]).await.1["code"], 21610);
    let cleared = world.client.delete(format!("{}/simulator", world.simulator.url())).send().await.unwrap();
    assert_eq!(cleared.status(), 204);
    assert_eq!(world.get("/simulator/ledger").await, json!([]));
    assert_eq!(world.created(&[("To", "+12035559999")]).await.0, 201);
}

#[tokio::test]
async fn a_thousand_messages_arrive_exactly_once() {
    let world = World::start(config("http://127.0.0.1:1/")).await;
    let bodies: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    for chunk in bodies.chunks(50) {
        let calls = chunk.iter().map(async |body| world.created(&[("Body", body.as_str())]).await.0);
        assert!(futures::future::join_all(calls).await.iter().all(|status| *status == 201));
    }
    eventually("all messages have arrived", async || world.received(HANDSET).await.len() == 1_000).await;
    let mut received = world.received(HANDSET).await;
    received.sort_by_key(|body| body.parse::<u32>().unwrap());
    assert_eq!(received, bodies);
}

#[tokio::test]
async fn the_page_is_self_contained_and_events_are_streamed() {
    let world = World::start(config("http://127.0.0.1:1/")).await;
    let page = world.client.get(world.simulator.url()).send().await.unwrap();
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let html = page.text().await.unwrap();
    assert!(html.contains(r#"DEFAULT_PHONE = "+12025550123""#), "the handset in the documented commands");
    assert!(!html.contains("innerHTML") && !html.contains("src=\"") && !html.contains("https://"));
    let mut events =
        world.client.get(format!("{}/simulator/events", world.simulator.url())).send().await.unwrap();
    world.created(&[]).await;
    let mut received = String::new();
    while !received.contains("\"status\":\"delivered\"") {
        let event = tokio::time::timeout(DEADLINE, events.chunk()).await.expect("an event");
        received += std::str::from_utf8(&event.unwrap().unwrap()).unwrap();
    }
    assert!(received.contains("\"status\":\"queued\"") && received.contains("\"status\":\"sent\""));
}
