//! Late messages, which may have been sent already.

use super::twilio::Reply::*;
use super::*;
use common::domain::ids::MessageId;
use serde_json::json;

/// A message that was requested an hour ago.
async fn late(world: &World) -> MessageId {
    late_with(world, new_send()).await
}

async fn late_with(world: &World, mut send: NewSend) -> MessageId {
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
async fn a_late_message_that_twilio_already_has_is_not_created() {
    let world = World::start().await;
    let id = late(&world).await;
    world.twilio.replies([List(listed("SM77", BODY))]);
    send(&mut world.function().await, [id]).await;
    assert_eq!(world.state(id).await, "delivered - SM77 free");
    assert_eq!(world.attempts(id).await, "accepted");
    assert_eq!(lines(&world), ["GET"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_message_that_twilio_does_not_have_is_created_after_the_lookup() {
    let world = World::start().await;
    let id = late(&world).await;
    world.twilio.replies([List(listed("SM77", "Something else")), Accept]);
    send(&mut world.function().await, [id]).await;
    assert_eq!(lines(&world), ["GET", "POST"]);
    assert_eq!(world.attempts(id).await, "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_message_that_may_be_at_twilio_with_other_content_is_not_created() {
    let texts = [
        // A replacement that Smart Encoding does not document.
        ("Rent ⅓ is due now", "Rent ? is due now"),
        (BODY, ""),
    ];
    for (ours, at_twilio) in texts {
        let world = World::start().await;
        let id = late_with(&world, NewSend { message_content: ours.to_owned(), ..new_send() }).await;
        world.twilio.replies([List(listed("SM77", at_twilio))]);
        send(&mut world.function().await, [id]).await;
        assert_eq!(lines(&world), ["GET"]);
        assert_eq!(world.state(id).await, "pending - - free");
        let due_in = world.due_in(id).await;
        assert!((50.0..=60.0).contains(&due_in), "{due_in}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_message_that_stays_undecided_until_it_expires_is_parked() {
    let world = World::start().await;
    let send_before = Some(in_seconds(40));
    let id = late_with(&world, NewSend { send_before, ..new_send() }).await;
    world.twilio.replies([List(listed("SM77", ""))]);
    let mut function = world.function().await;
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, "unknown - - free");
    let parked = "select count(*) from sms_messages m join sms_events_pending e on e.message_id = m.id
                  where m.parked_at is not null and e.body::jsonb->'data'->>'parked' = 'true'";
    assert_eq!(world.database.scalar(parked).await, "1");
    assert_eq!(metric(&function, "sends_parked", 1).await, [json!(1.0)]);
    send(&mut function, [id]).await;
    assert_eq!(lines(&world), ["GET"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_messages_to_one_recipient_share_one_lookup() {
    let world = World::start().await;
    let (one, other) = (late(&world).await, late(&world).await);
    let both = json!({"next_page_uri": null, "messages": [
        listed("SM77", BODY)["messages"][0], listed("SM78", BODY)["messages"][0]]});
    world.twilio.replies([List(both)]);
    send(&mut world.function().await, [one, other]).await;
    assert_eq!(lines(&world), ["GET"]);
    let mut states = [world.state(one).await, world.state(other).await];
    states.sort();
    assert_eq!(states, ["delivered - SM77 free", "delivered - SM78 free"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_message_waits_while_the_lookup_fails() {
    let world = World::start().await;
    let id = late(&world).await;
    world.twilio.replies([Refuse(503, 20503, None)]);
    send(&mut world.function().await, [id]).await;
    assert_eq!(lines(&world), ["GET"]);
    assert_eq!(world.attempts(id).await, "not_processed");
    assert_eq!(world.state(id).await, "pending - - free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_late_needs_no_lookup() {
    let world = World::start().await;
    let id = world.message().await;
    send(&mut world.function().await, [id]).await;
    assert_eq!(lines(&world), ["POST"]);
}

/// A function after a restore of a backup from an hour ago.
async fn restored(world: &World) -> Function {
    let since = in_seconds(-3_600).to_string();
    world.function_with(&[("SEND_VERIFY_SINCE", &since)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_a_repeated_request_gets_the_sid_of_the_first_one() {
    let world = World::start().await;
    let mut function = restored(&world).await;
    let repeated = world.message().await;
    world.twilio.replies([List(listed("SM77", BODY))]);
    send(&mut function, [repeated]).await;
    assert_eq!(world.state(repeated).await, "delivered - SM77 free");
    // The SID has an owner now, so one more message with the same text is sent.
    let other = world.message().await;
    world.twilio.replies([List(listed("SM77", BODY)), Accept]);
    send(&mut function, [other]).await;
    assert_eq!(lines(&world), ["GET", "GET", "POST"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_a_new_request_is_sent_after_the_lookup() {
    let world = World::start().await;
    let id = world.message().await;
    world.twilio.replies([List(listed("SM77", "Something else")), Accept]);
    send(&mut restored(&world).await, [id]).await;
    assert_eq!(lines(&world), ["GET", "POST"]);
    assert_eq!(world.attempts(id).await, "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_messages_from_before_the_backup_are_not_taken_for_repeated_ones() {
    let world = World::start().await;
    let since = in_seconds(-600).to_string();
    let mut function = world.function_with(&[("SEND_VERIFY_SINCE", &since)]).await;
    let id = world.message().await;
    world.twilio.replies([List(listed("SM77", BODY)), Accept]);
    send(&mut function, [id]).await;
    assert_eq!(lines(&world), ["GET", "POST"]);
}
