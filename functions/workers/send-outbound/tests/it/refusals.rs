//! Requests that Twilio did not process: retried, deferred or failed. Also messages that must not be sent.

use crate::twilio::Reply::{Accept, HoldAndRefuse, Refuse};
use crate::{FROM, World, in_seconds, metric, new_send, send, sid};
use serde_json::json;
use std::time::Instant;
use testing::left_of;

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_recipient_fails_with_the_twilio_code() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Refuse(400, 21211, None)]);
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, "failed 21211 - free");
    assert_eq!(world.attempts(id).await, "rejected");
    assert_eq!(world.twilio.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_reported_by_twilio_is_recorded_and_blocks_later_messages() {
    let world = World::start().await;
    let mut function = world.function().await;
    let first = world.message().await;
    let mut second = new_send();
    second.send_at = Some(in_seconds(60));
    let second = world.stored(second).await;
    world.twilio.replies([Refuse(400, 21610, None)]);
    send(&mut function, [first]).await;
    assert_eq!(world.state(first).await, "failed 21610 - free");
    let ledger = "select concat_ws(' ', action, source, words, our_number) from sms_opt_out_events";
    assert_eq!(world.database.scalar(ledger).await, "opt_out twilio_error 21610 +15005550006");
    world.time_passes(60).await;
    send(&mut function, [second]).await;
    assert_eq!(world.state(second).await, "failed opted_out - free");
    assert_eq!(world.twilio.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_credentials_defer_the_message_hold_its_sender_and_raise_the_alarm() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Refuse(401, 20003, None)]);
    let begun = Instant::now();
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, "pending 20003 - free");
    assert!(world.due_in(id).await <= 0.0, "it keeps its due time");
    let held = world.held_for(FROM).await;
    assert!(left_of(300.0, begun).contains(&held), "{held}");
    assert_eq!(metric(&function, "sends_misconfigured", 1).await, [json!(1.0)]);
    assert_eq!(metric(&function, "sends_deferred", 1).await, [json!(1.0)]);
    assert_eq!(function.metric_of("errors", "twilio_unauthorized").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_at_most_as_long_as_the_longest_retry_delay() {
    let world = World::start().await;
    let mut function = world.function_with(&[("SEND_RETRY_DELAYS_SECONDS", "10,30,20")]).await;
    let id = world.message().await;
    world.twilio.replies([Refuse(401, 20003, None)]);
    send(&mut function, [id]).await;
    let held = world.held_for(FROM).await;
    assert!((10.0..=30.0).contains(&held), "{held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_retry_after_is_waited_for_within_the_invocation() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Refuse(429, 20429, Some("1")), Accept]);
    let begun = Instant::now();
    send(&mut function, [id]).await;
    assert!(begun.elapsed().as_secs_f64() >= 1.0, "Retry-After is honoured");
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(2)));
    assert_eq!(world.attempts(id).await, "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_retry_after_is_left_to_the_schedule() {
    let world = World::start().await;
    let mut function = world.function_with(&[("SEND_RETRY_DELAYS_SECONDS", "5,10")]).await;
    let id = world.message().await;
    world.twilio.replies([Refuse(429, 20429, Some("600"))]);
    let begun = Instant::now();
    send(&mut function, [id]).await;
    assert_eq!(world.twilio.requests().len(), 1);
    assert_eq!(world.state(id).await, "pending 20429 - free");
    let (due, held) = (world.due_in(id).await, world.held_for(FROM).await);
    assert!(left_of(600.0, begun).contains(&due), "{due}");
    assert!(left_of(600.0, begun).contains(&held), "{held}");
    // An early record has no effect. A later one sends the message and clears the code.
    send(&mut function, [id]).await;
    assert_eq!(world.twilio.requests().len(), 1);
    world.time_passes(600).await;
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(2)));
    assert_eq!(world.attempts(id).await, "not_processed,accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_attempted_three_times_and_then_deferred() {
    let world = World::start().await;
    let changes = [("TWILIO_API_BASE_URL", "http://127.0.0.1:1"), ("SEND_RETRY_DELAYS_SECONDS", "30,300")];
    let mut function = world.function_with(&changes).await;
    let id = world.message().await;
    let begun = Instant::now();
    send(&mut function, [id]).await;
    let tries = metric(&function, "twilio_create_latency", 1).await;
    assert_eq!(tries[0].as_array().unwrap().len(), 3);
    assert_eq!(function.metric_of("errors", "twilio_unreachable").await, 1.0);
    assert_eq!(world.state(id).await, "pending - - free");
    assert_eq!(world.attempts(id).await, "not_processed");
    let due = world.due_in(id).await;
    assert!(left_of(30.0, begun).contains(&due), "{due}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_before_the_claim_fails_the_message_without_a_request() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.stop().await;
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, "failed opted_out - free");
    assert!(world.twilio.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_between_two_attempts_prevents_the_second() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([HoldAndRefuse(429, 20429, Some("1"))]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(1).await;
        world.stop().await;
        world.twilio.release();
    });
    assert_eq!(world.twilio.requests().len(), 1);
    assert_eq!(world.state(id).await, "failed opted_out - free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_or_expired_message_is_not_sent() {
    let world = World::start().await;
    let mut function = world.function().await;
    let canceled = world.message().await;
    let cancel = format!("update sms_messages set delivery_status = 'canceled' where id = '{canceled}'");
    world.database.client.batch_execute(&cancel).await.unwrap();
    let mut late = new_send();
    late.created_at = in_seconds(-60);
    late.send_before = Some(in_seconds(-1));
    let late = world.stored(late).await;
    let mut early = new_send();
    early.send_at = Some(in_seconds(60));
    let early = world.stored(early).await;
    send(&mut function, [canceled, late, early]).await;
    assert!(world.twilio.requests().is_empty());
    assert_eq!(world.state(canceled).await, "canceled - - free");
    assert_eq!(world.state(late).await, "failed retries_exhausted - free");
    assert_eq!(world.state(early).await, "pending - - free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_scheduled_days_ahead_is_not_expired_at_its_first_attempt() {
    let world = World::start().await;
    let mut function = world.function().await;
    let mut message = new_send();
    message.created_at = in_seconds(-3 * 86_400);
    message.send_at = Some(in_seconds(-1));
    let id = world.stored(message).await;
    world.twilio.replies([Refuse(429, 20429, Some("60"))]);
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, "pending 20429 - free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_retried_for_a_day_has_failed() {
    let world = World::start().await;
    let mut function = world.function_with(&[("SEND_RETRY_DELAYS_SECONDS", "600")]).await;
    let mut message = new_send();
    message.created_at = in_seconds(-86_000);
    let id = world.stored(message).await;
    world.twilio.replies([Refuse(429, 20429, Some("600"))]);
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, "failed retries_exhausted - free");
    assert_eq!(world.attempts(id).await, "not_processed");
}
