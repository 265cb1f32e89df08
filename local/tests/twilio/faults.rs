//! What goes wrong on request.

use std::time::Duration;

use serde_json::json;

use crate::support::{HANDSET, World, config, eventually};

const NOWHERE: &str = "http://127.0.0.1:1/";

async fn world() -> World {
    World::start(config(NOWHERE)).await
}

/// Whether a handset gets a message within the time that one takes.
async fn arrives(world: &World, to: &str) -> bool {
    let (_, after) = world.created(&[("To", "+12035558888")]).await;
    world.reaches(after["sid"].as_str().unwrap(), "delivered").await;
    !world.received(to).await.is_empty()
}

#[tokio::test]
async fn resets_cut_the_connection_with_or_without_taking_the_message() {
    let world = world().await;
    for (to, taken) in [("+15005550210", false), ("+15005550211", false), ("+15005550212", true)] {
        let error = world.create(&[("To", to)]).await.unwrap_err();
        assert!(!error.is_connect() && !error.is_timeout(), "{to}: {error:?}");
        assert!(format!("{error:?}").contains("ConnectionReset"), "{to}: {error:?}");
        assert_eq!(arrives(&world, to).await, taken, "{to}");
    }
}

#[tokio::test]
async fn a_reset_before_reading_needs_no_recipient() {
    let world = world().await;
    world.fault(json!({ "fault": { "kind": "reset_before_read" } })).await;
    assert!(world.create(&[]).await.is_err());
    assert_eq!(world.created(&[]).await.0, 201);
}

#[tokio::test]
async fn hanging_requests_never_answer() {
    let world = world().await;
    for (to, taken) in [("+15005550220", false), ("+15005550221", true)] {
        let form = [("To", to), ("From", crate::support::OURS), ("Body", "hello")];
        let request = world.client.post(world.messages()).timeout(Duration::from_millis(200)).form(&form);
        let request = request.basic_auth(crate::support::ACCOUNT, Some(crate::support::TOKEN));
        assert!(request.send().await.unwrap_err().is_timeout(), "{to}");
        assert_eq!(arrives(&world, to).await, taken, "{to}");
    }
}

#[tokio::test]
async fn server_errors_take_the_message_or_not() {
    let world = world().await;
    for (to, status, taken) in
        [("+15005550240", 500, false), ("+15005550241", 500, true), ("+15005550242", 503, false)]
    {
        assert_eq!(world.created(&[("To", to)]).await.0, status, "{to}");
        assert_eq!(arrives(&world, to).await, taken, "{to}");
    }
}

#[tokio::test]
async fn too_many_requests_say_when_to_come_back_or_do_not() {
    let world = world().await;
    for (to, after) in [("+15005550230", Some("1")), ("+15005550231", None)] {
        let response = world.create(&[("To", to)]).await.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers().get("retry-after").map(|value| value.to_str().unwrap()), after);
        assert_eq!(response.json::<serde_json::Value>().await.unwrap()["code"], 20429);
    }
}

#[tokio::test]
async fn a_201_breaks_off_or_is_no_json_and_the_message_goes_out() {
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
async fn a_fault_meets_the_requests_it_was_asked_for_and_can_be_removed() {
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
    let (status, answer) =
        world.post_json("/simulator/faults", json!({ "fault": { "kind": "explode" } })).await;
    assert_eq!(status, 422);
    assert!(answer["error"].as_str().unwrap().contains("explode"));
}

#[tokio::test]
async fn a_late_message_goes_out_though_nobody_waits_for_its_answer() {
    let world = world().await;
    world.fault(json!({ "fault": { "kind": "late", "ms": 300 }, "callbacks": { "mode": "lost" } })).await;
    let gone = tokio::time::timeout(Duration::from_millis(50), world.create(&[])).await;
    assert!(gone.is_err(), "the client has hung up");
    assert!(world.received(HANDSET).await.is_empty());
    eventually("it goes out", async || world.received(HANDSET).await.len() == 1).await;
    let creates = world.get("/simulator/creates").await;
    assert_eq!(
        creates[0]["fault"],
        json!({ "kind": "late", "ms": 300, "callbacks": { "mode": "lost", "delay_ms": null, "statuses": null } })
    );
}

#[tokio::test]
async fn other_operations_meet_faults_of_their_own() {
    let world = world().await;
    let fault = json!({ "kind": "server_error" });
    world.fault(json!({ "match": { "operation": "list" }, "fault": fault })).await;
    assert_eq!(world.created(&[]).await.0, 201);
    let path = world.messages().replace(world.simulator.url(), "");
    assert_eq!(world.get(&path).await["code"], 20500);
    assert!(world.get(&path).await["messages"].is_array());
}

#[tokio::test]
async fn refused_connections_are_reset_before_anything_is_read() {
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
async fn an_outage_closes_the_port_and_ends() {
    let world = world().await;
    assert_eq!(world.post_json("/simulator/outage", json!({ "seconds": 0.4 })).await.0, 202);
    eventually("refused", async || world.create(&[]).await.is_err_and(|error| error.is_connect())).await;
    eventually("open again", async || world.create(&[]).await.is_ok()).await;
    assert_eq!(world.post_json("/simulator/outage", json!({ "seconds": -1 })).await.0, 400);
}
