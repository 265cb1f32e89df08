//! Faults.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{HANDSET, World, config, eventually};

const CLOSED_PORT: &str = "http://127.0.0.1:1/";

async fn world() -> World {
    World::start(config(CLOSED_PORT)).await
}

/// Returns whether a handset has received a message, after a later message was delivered.
async fn arrives(world: &World, to: &str) -> bool {
    let (_, after) = world.created(&[("To", "+12035558888")]).await;
    world.reaches(after["sid"].as_str().unwrap(), "delivered").await;
    !world.received(to).await.is_empty()
}

#[tokio::test]
async fn a_reset_cuts_the_connection_and_accepts_the_message_or_not() {
    let world = world().await;
    for (to, accepted) in [("+15005550210", false), ("+15005550211", false), ("+15005550212", true)] {
        let error = world.create(&[("To", to)]).await.unwrap_err();
        assert!(!error.is_connect() && !error.is_timeout(), "{to}: {error:?}");
        assert!(format!("{error:?}").contains("ConnectionReset"), "{to}: {error:?}");
        assert_eq!(arrives(&world, to).await, accepted, "{to}");
    }
}

#[tokio::test]
async fn a_reset_before_read_works_without_a_matcher() {
    let world = world().await;
    world.fault(json!({ "fault": { "kind": "reset_before_read" } })).await;
    assert!(world.create(&[]).await.is_err());
    assert_eq!(world.created(&[]).await.0, 201);
}

/// Disconnects after the simulator has read a create request and has not responded for 200 ms.
async fn disconnect(world: &World, form: &[(&str, &str)]) {
    let read = async || world.get("/simulator/creates").await.as_array().unwrap().len();
    let before = read().await;
    tokio::select! {
        response = world.create(form) => panic!("{response:?}"),
        () = async {
            eventually("the request is read", async || read().await > before).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        } => {}
    }
}

#[tokio::test]
async fn a_hanging_request_gets_no_response() {
    let world = world().await;
    for (to, accepted) in [("+15005550220", false), ("+15005550221", true)] {
        disconnect(&world, &[("To", to)]).await;
        assert_eq!(arrives(&world, to).await, accepted, "{to}");
    }
}

#[tokio::test]
async fn a_server_error_accepts_the_message_or_not() {
    let world = world().await;
    for (to, status, accepted) in
        [("+15005550240", 500, false), ("+15005550241", 500, true), ("+15005550242", 503, false)]
    {
        assert_eq!(world.created(&[("To", to)]).await.0, status, "{to}");
        assert_eq!(arrives(&world, to).await, accepted, "{to}");
    }
}

#[tokio::test]
async fn a_429_has_a_retry_after_header_or_not() {
    let world = world().await;
    for (to, after) in [("+15005550230", Some("1")), ("+15005550231", None)] {
        let response = world.create(&[("To", to)]).await.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers().get("retry-after").map(|value| value.to_str().unwrap()), after);
        assert_eq!(response.json::<serde_json::Value>().await.unwrap()["code"], 20429);
    }
}

#[tokio::test]
async fn a_message_is_sent_after_a_truncated_or_garbled_201() {
    let world = world().await;
    let response = world.create(&[("To", "+15005550250")]).await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(response.bytes().await.is_err());
    let response = world.create(&[("To", "+15005550251")]).await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(response.json::<serde_json::Value>().await.is_err());
    assert!(arrives(&world, "+15005550250").await && arrives(&world, "+15005550251").await);
}

#[tokio::test]
async fn a_fault_applies_to_matching_requests_until_it_is_removed() {
    let world = world().await;
    let matcher = json!({ "to": HANDSET, "body_contains": "boom" });
    let fault = json!({ "kind": "error", "code": 21611 });
    world.fault(json!({ "match": matcher, "skip": 1, "count": 0, "fault": fault })).await;
    let mut statuses = Vec::new();
    for form in [
        [("Body", "boom")],
        [("Body", "boom")],
        [("Body", "calm")],
        [("Body", "boom")],
        [("To", "+12035559999")],
    ] {
        statuses.push(world.created(&form).await.0);
    }
    assert_eq!(statuses, [201, 429, 201, 429, 201]);
    let armed = world.get("/simulator/faults").await;
    assert_eq!(armed[0]["hits"], 2);
    let url = format!("{}/simulator/faults/{}", world.simulator.url(), armed[0]["id"]);
    assert_eq!(world.client.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(world.client.delete(&url).send().await.unwrap().status(), 404);
    assert_eq!(world.created(&[("Body", "boom")]).await.0, 201);
    let (status, response) =
        world.post_json("/simulator/faults", json!({ "fault": { "kind": "explode" } })).await;
    assert_eq!(status, 422);
    assert!(response["error"].as_str().unwrap().contains("explode"));
}

#[tokio::test]
async fn a_late_message_is_sent_after_the_client_has_disconnected() {
    let world = world().await;
    world.fault(json!({ "fault": { "kind": "late", "ms": 1_000 }, "callbacks": { "mode": "lost" } })).await;
    disconnect(&world, &[]).await;
    eventually("the message is sent", async || world.received(HANDSET).await.len() == 1).await;
    let creates = world.get("/simulator/creates").await;
    let at = |value: &serde_json::Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let received = at(&world.get("/simulator/ledger").await[0]["at"]);
    let waited = received.duration_since(at(&creates[0]["at"]));
    assert!(waited >= jiff::SignedDuration::from_millis(1_000), "{waited:?}");
    assert_eq!(
        creates[0]["fault"],
        json!({ "kind": "late", "ms": 1_000, "callbacks": { "mode": "lost", "delay_ms": null, "statuses": null } })
    );
}

#[tokio::test]
async fn a_fault_can_match_another_operation() {
    let world = world().await;
    let fault = json!({ "kind": "server_error" });
    world.fault(json!({ "match": { "operation": "list" }, "fault": fault })).await;
    assert_eq!(world.created(&[]).await.0, 201);
    let path = world.messages().replace(world.simulator.url(), "");
    assert_eq!(world.get(&path).await["code"], 20500);
    assert!(world.get(&path).await["messages"].is_array());
}

#[tokio::test]
async fn a_refused_connection_is_reset_immediately() {
    let world = world().await;
    world.fault(json!({ "count": 2, "fault": { "kind": "refuse" } })).await;
    let address = world.simulator.url().strip_prefix("http://").unwrap().to_owned();
    for _ in 0..2 {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.readable().await.unwrap();
        let mut buffer = [0];
        assert_eq!(stream.try_read(&mut buffer).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(world.created(&[]).await.0, 201);
}

#[tokio::test]
async fn an_outage_closes_the_port_for_a_time() {
    let world = world().await;
    // On a slow machine a short outage can end before the first request.
    for seconds in [0.4, 2.0, 10.0, 50.0] {
        assert_eq!(world.post_json("/simulator/outage", json!({ "seconds": seconds })).await.0, 202);
        let begun = Instant::now();
        let was_refused = loop {
            match world.create(&[]).await {
                Err(error) if error.is_connect() => break true,
                // The port closes shortly after the response.
                Ok(_) if begun.elapsed().as_secs_f64() > seconds + 1.0 => break false,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        eventually("the port is open again", async || world.create(&[]).await.is_ok()).await;
        if was_refused {
            break;
        }
        assert!(seconds < 50.0, "no connection was refused");
    }
    assert_eq!(world.post_json("/simulator/outage", json!({ "seconds": -1 })).await.0, 400);
}
