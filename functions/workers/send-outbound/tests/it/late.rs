//! Messages that are sent late, and may have been sent already.

use super::twilio::Reply::*;
use super::*;
use serde_json::json;

/// A message that was asked for an hour ago.
async fn late(world: &World) -> Uuid {
    let mut send = new_send();
    send.created_at = clock::now() - jiff::SignedDuration::from_hours(1);
    world.stored(send).await
}

fn listed(sid: &str, body: &str) -> Value {
    let at = (clock::now() - jiff::SignedDuration::from_mins(30)).to_zoned(jiff::tz::TimeZone::UTC);
    json!({"next_page_uri": null, "messages": [{
        "sid": sid, "direction": "outbound-api", "to": TO, "from": FROM, "body": body, "num_media": "0",
        "status": "delivered", "date_created": jiff::fmt::rfc2822::to_string(&at).unwrap(), "error_code": null,
    }]})
}

fn lines(world: &World) -> Vec<String> {
    let method = |request: twilio::Request| request.line.split(' ').next().unwrap().to_owned();
    world.twilio.requests().into_iter().map(method).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilio_has_already_is_adopted_and_not_created() {
    let world = World::start().await;
    let id = late(&world).await;
    world.twilio.replies([List(listed("SM77", BODY))]);
    send(&mut world.function().await, [id]).await;
    assert_eq!(world.state(id).await, "delivered - SM77 free");
    assert_eq!(world.attempts(id).await, "accepted");
    assert_eq!(lines(&world), ["GET"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilio_does_not_have_is_created_after_the_look() {
    let world = World::start().await;
    let id = late(&world).await;
    world.twilio.replies([List(listed("SM77", "Something else")), Accept]);
    send(&mut world.function().await, [id]).await;
    assert_eq!(lines(&world), ["GET", "POST"]);
    assert_eq!(world.attempts(id).await, "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_for_waits() {
    let world = World::start().await;
    let id = late(&world).await;
    world.twilio.replies([Refuse(503, 20503, None)]);
    send(&mut world.function().await, [id]).await;
    assert_eq!(lines(&world), ["GET"]);
    assert_eq!(world.attempts(id).await, "not_processed");
    assert_eq!(world.state(id).await, "pending - - free");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_late_costs_no_look() {
    let world = World::start().await;
    let id = world.message().await;
    send(&mut world.function().await, [id]).await;
    assert_eq!(lines(&world), ["POST"]);
}
