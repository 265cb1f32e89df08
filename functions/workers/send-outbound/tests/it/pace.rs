//! The order and pace of messages, and holds of senders.

use crate::twilio::Reply::{Accept, Refuse};
use crate::{FROM, World, batch, in_seconds, new_send, send, sid};
use common::db::sends::NewSend;
use serde_json::{Value, json};
use std::time::Instant;
use testing::{Behaviour, Function, left_of};
use uuid::Uuid;

const OTHER: &str = "+15005550009";

fn of(priority: &str, body: &str) -> NewSend {
    NewSend { priority: priority.parse().unwrap(), message_content: body.to_owned(), ..new_send() }
}

impl World {
    /// Returns the texts of the create requests in order of arrival.
    fn bodies(&self) -> Vec<String> {
        self.twilio.requests().iter().map(|request| request.value("Body").unwrap().to_owned()).collect()
    }

    /// Returns the queued wake-ups: senders with their delays.
    fn woken(&self) -> Vec<(String, u64)> {
        let sent = self.sqs.sent().into_iter();
        sent.map(|sent| (sent.body["sender"].as_str().unwrap().to_owned(), sent.delay_seconds)).collect()
    }

    async fn pending(&self) -> String {
        self.database.scalar("select count(*) from sms_messages where delivery_status = 'pending'").await
    }

    /// Invokes the function with the last queued wake-up.
    async fn wake(&self, function: &mut Function) {
        let mut event = batch(&[Uuid::nil().into()]);
        event["Records"][0]["body"] = self.sqs.sent().last().unwrap().body.to_string().into();
        assert_eq!(function.call(event).await, json!({"batchItemFailures": []}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_message_is_sent_before_bulk_messages_with_earlier_records() {
    let world = World::start().await;
    let changes = [("SENDER_BURST_SEGMENTS", "2"), ("SENDER_SEGMENTS_PER_SECOND", "0.6")];
    let mut function = world.function_with(&changes).await;
    let mut bulk = Vec::new();
    for number in 0..5 {
        bulk.push(world.stored(of("bulk", &format!("bulk {number}"))).await);
    }
    world.stored(of("normal", "normal")).await;
    world.stored(of("urgent", "urgent")).await;
    // Two segments at once. Bulk messages use only half of the burst.
    send(&mut function, [bulk[4]]).await;
    let mut bodies = world.bodies();
    bodies.sort();
    assert_eq!(bodies, ["normal", "urgent"]);
    assert_eq!(world.woken(), [(FROM.to_owned(), 4)], "two segments take 3.3 s");
    world.time_passes(10).await;
    world.wake(&mut function).await;
    assert_eq!(world.bodies()[2..], ["bulk 0"], "half of the burst, the longest due message first");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_message_is_sent_first_after_a_hold_even_if_another_urgent_one_expired() {
    let world = World::start().await;
    let mut function = world.function().await;
    world.twilio.replies([Refuse(400, 21611, Some("40"))]);
    let bulk = world.stored(of("bulk", "bulk")).await;
    send(&mut function, [bulk]).await;
    let over =
        NewSend { created_at: in_seconds(-60), send_before: Some(in_seconds(-1)), ..of("urgent", "over") };
    let over = world.stored(over).await;
    world.stored(of("urgent", "urgent")).await;
    world.time_passes(40).await;
    send(&mut function, [bulk]).await;
    assert_eq!(world.state(over).await, "failed retries_exhausted - free");
    assert_eq!(world.bodies(), ["bulk", "urgent"]);
    world.wake(&mut function).await;
    assert_eq!(world.bodies(), ["bulk", "urgent", "bulk"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_functions_send_at_most_the_burst_and_wake_the_sender_once() {
    let world = World::start().await;
    let changes = [("SENDER_BURST_SEGMENTS", "6"), ("SENDER_SEGMENTS_PER_SECOND", "0.01")];
    let (mut one, mut other) = (world.function_with(&changes).await, world.function_with(&changes).await);
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(world.stored(NewSend { segments: 2, ..new_send() }).await);
    }
    tokio::join!(send(&mut one, &ids), send(&mut other, &ids));
    assert_eq!(world.twilio.requests().len(), 3);
    assert_eq!(world.pending().await, "5");
    // The next two segments are allowed in 200 seconds, so a later sweep wakes the sender.
    assert_eq!(world.woken(), []);
    world.time_passes(150).await;
    tokio::join!(send(&mut one, &ids), send(&mut other, &ids));
    let woken = world.woken();
    assert!(matches!(woken.as_slice(), [(sender, 1..=50)] if sender == FROM), "{woken:?}");
    assert_eq!(world.twilio.requests().len(), 3);
    world.time_passes(50).await;
    world.wake(&mut one).await;
    assert_eq!(world.twilio.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sender_has_its_own_pace_and_a_message_longer_than_the_burst_is_sent_alone() {
    let world = World::start().await;
    let changes = [("SENDER_BURST_SEGMENTS", "2"), ("SENDER_SEGMENTS_PER_SECOND", "0.001,+15005550009=0.6")];
    let mut function = world.function_with(&changes).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(world.stored(NewSend { segments: 5, ..of("normal", &format!("slow {number}")) }).await);
        let fast = of("normal", &format!("fast {number}"));
        ids.push(world.stored(NewSend { sender: OTHER.into(), ..fast }).await);
    }
    send(&mut function, &ids).await;
    let mut bodies = world.bodies();
    bodies.sort();
    assert_eq!(bodies, ["fast 0", "fast 1", "slow 0"]);
    assert_eq!(world.woken(), [(OTHER.to_owned(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wake_up_clears_a_backlog_and_a_lost_wake_up_is_replaced() {
    let world = World::start().await;
    let burst = ("SENDER_BURST_SEGMENTS", "1000");
    let mut hasty = world.function_with(&[burst, ("SQS_SEND_BUDGET_MS", "200")]).await;
    let mut function = world.function_with(&[burst]).await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(world.message().await);
    }
    world.sqs.behave(Behaviour::Hangs);
    send(&mut hasty, [ids[0]]).await;
    assert_eq!(world.pending().await, "30");
    assert_eq!(world.database.scalar("select wake_at from sms_senders").await, "null");
    world.sqs.behave(Behaviour::Accepts);
    send(&mut function, [ids[0]]).await;
    assert_eq!(world.woken(), [(FROM.to_owned(), 0)]);
    world.wake(&mut function).await;
    assert_eq!(world.pending().await, "0");
    assert_eq!(world.woken().len(), 1, "no messages are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_at_twilio_holds_only_its_sender_and_keeps_the_order() {
    let world = World::start().await;
    let mut function = world.function().await;
    let first = world.message().await;
    world.twilio.replies([Refuse(400, 21611, Some("40"))]);
    let begun = Instant::now();
    send(&mut function, [first]).await;
    assert_eq!(world.state(first).await, "pending 21611 - free");
    assert_eq!(world.twilio.requests().len(), 1, "no immediate retry");
    let held = world.held_for(FROM).await;
    assert!(left_of(40.0, begun).contains(&held), "{held}");
    let second = world.message().await;
    let other = world.stored(NewSend { sender: OTHER.into(), ..new_send() }).await;
    send(&mut function, [second, other]).await;
    assert_eq!(world.state(second).await, "pending - - free");
    assert_eq!(world.state(other).await, format!("queued - {} free", sid(2)));
    assert_eq!(world.attempts(second).await, "", "the messages behind it are not attempted");
    // One message is sent as a probe. When Twilio accepts it, the others follow.
    world.time_passes(40).await;
    send(&mut function, [second]).await;
    assert_eq!(world.state(first).await, format!("queued - {} free", sid(3)));
    assert_eq!(world.state(second).await, "pending - - free");
    assert_eq!(world.woken().last().unwrap(), &(FROM.to_owned(), 0));
    world.wake(&mut function).await;
    assert_eq!(world.state(second).await, format!("queued - {} free", sid(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_error_allows_one_message_per_hold_until_it_is_fixed() {
    let world = World::start().await;
    let mut function = world.function_with(&[("SENDER_HOLD_SECONDS", "120")]).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.message().await);
    }
    world.twilio.replies([Refuse(400, 21606, None)]);
    send(&mut function, [ids[0]]).await;
    // The first claim was larger; from here on one message is sent at a time.
    let asked = world.twilio.requests().len();
    let last = [world.message().await, world.message().await];
    for _ in 0..2 {
        world.twilio.replies([Refuse(400, 21606, None)]);
        world.time_passes(120).await;
        let begun = Instant::now();
        send(&mut function, last).await;
        send(&mut function, last).await;
        let held = world.held_for(FROM).await;
        assert!(left_of(120.0, begun).contains(&held), "{held}");
    }
    assert_eq!(world.twilio.requests().len(), asked + 2);
    assert_eq!(
        world.pending().await,
        "3",
        "the refused message keeps its due time, the last two are not attempted"
    );
    assert_eq!(world.attempts(last[0]).await + &world.attempts(last[1]).await, "");
    world.twilio.replies([Accept]);
    world.time_passes(120).await;
    send(&mut function, last).await;
    world.wake(&mut function).await;
    assert_eq!(world.pending().await, "0");
    let outcomes = "select string_agg(distinct coalesce(outcome, 'open'), ',') from sms_send_attempts";
    assert_eq!(world.database.scalar(outcomes).await, "accepted,not_processed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_its_sender_cannot_send_delays_others_only_for_a_time() {
    let world = World::start().await;
    let mut function = world.function_with(&[("SENDER_HOLD_SECONDS", "120")]).await;
    let stuck = world.message().await;
    world.twilio.replies([Refuse(400, 21659, None)]);
    send(&mut function, [stuck]).await;
    let behind = world.message().await;
    for _ in 0..3 {
        assert_eq!(world.attempts(behind).await, "");
        world.twilio.replies([Refuse(400, 21659, None)]);
        world.time_passes(120).await;
        send(&mut function, [behind]).await;
    }
    world.time_passes(120).await;
    send(&mut function, [behind]).await;
    assert!(world.state(behind).await.starts_with("queued"), "{}", world.state(behind).await);
    assert_eq!(world.state(stuck).await, "pending 21659 - free");
    let due = world.due_in(stuck).await;
    assert!((1_100.0..=1_320.0).contains(&due), "{due}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_expires_during_a_hold_fails_at_its_turn() {
    let world = World::start().await;
    let mut function = world.function().await;
    let old = world.stored(NewSend { created_at: in_seconds(-86_500), ..new_send() }).await;
    let late = NewSend { created_at: in_seconds(-60), send_before: Some(in_seconds(-1)), ..new_send() };
    let late = world.stored(late).await;
    send(&mut function, [late]).await;
    for id in [old, late] {
        assert_eq!(world.state(id).await, "failed retries_exhausted - free");
    }
    assert_eq!(world.twilio.requests().len(), 0);
    let woken: Vec<Value> = world.sqs.sent().into_iter().map(|sent| sent.body).collect();
    assert_eq!(woken, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_wake_ups_is_counted_and_ends_at_its_limit_until_the_next_sweep() {
    let world = World::start().await;
    let changes = [("SENDER_BURST_SEGMENTS", "2"), ("SENDER_SEGMENTS_PER_SECOND", "0.6")];
    let mut function = world.function_with(&changes).await;
    let mut ids = Vec::new();
    for number in 0..9 {
        ids.push(world.stored(of("normal", &format!("normal {number}"))).await);
    }
    let hops = || world.sqs.sent().last().unwrap().body["hops"].clone();
    send(&mut function, [ids[0]]).await;
    assert_eq!(hops(), Value::Null, "the first wake-up of its chain");
    for hop in 1..3 {
        world.time_passes(10).await;
        world.wake(&mut function).await;
        assert_eq!(hops(), hop);
    }
    let woken = world.woken().len();
    world.time_passes(10).await;
    let mut event = batch(&[Uuid::nil().into()]);
    let mut last = world.sqs.sent().last().unwrap().body.clone();
    last["hops"] = json!(10_000);
    event["Records"][0]["body"] = last.to_string().into();
    assert_eq!(function.call(event).await, json!({"batchItemFailures": []}));
    assert_eq!(world.bodies().len(), 8, "its messages are sent");
    assert_eq!(world.woken().len(), woken);
    assert_eq!(crate::metric(&function, "wake_ups_limited", 1).await, [json!(1.0)]);
    let wake_at = "select count(*) from sms_senders where wake_at is not null";
    assert_eq!(world.database.scalar(wake_at).await, "0", "the sweep wakes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beyond_the_daily_limit_wait_and_are_sent_on_the_next_day_the_most_urgent_first() {
    let world = World::start().await;
    let mut function = world.function_with(&[("SENDER_SEGMENTS_PER_DAY", "2,+15005550009=1")]).await;
    for number in 0..4 {
        world.stored(of("bulk", &format!("bulk {number}"))).await;
    }
    let other = world.stored(NewSend { sender: OTHER.into(), ..of("normal", "other") }).await;
    let last = world.stored(of("bulk", "last")).await;
    send(&mut function, [last, other]).await;
    let mut bodies = world.bodies();
    bodies.sort();
    assert_eq!(bodies, ["bulk 0", "bulk 1", "other"], "each sender has its own limit");
    assert_eq!(world.state(last).await, "pending - - free");
    assert_eq!(crate::metric(&function, "daily_limits_reached", 1).await, [json!(1.0)]);
    let waits =
        "select day_full_until = day_ends_at and day_ends_at > now() from sms_senders where day_sent = 2";
    assert_eq!(world.database.scalar(waits).await, "t");

    let urgent = world.stored(of("urgent", "urgent")).await;
    send(&mut function, [urgent]).await;
    assert_eq!(world.bodies().len(), 3, "urgent messages wait, too");
    world.day_passes().await;
    send(&mut function, [urgent]).await;
    let mut bodies = world.bodies().split_off(3);
    bodies.sort();
    assert_eq!(bodies, ["bulk 2", "urgent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_score_limits_the_senders_of_the_brand() {
    let world = World::start().await;
    let mut function = world.function_with(&[("SENDER_10DLC_REGISTRATION", "24")]).await;
    let first = world.message().await;
    send(&mut function, [first]).await;
    world.database.client.batch_execute("update sms_senders set day_sent = 1999").await.unwrap();
    let ids = [world.message().await, world.message().await];
    send(&mut function, ids).await;
    assert_eq!(world.twilio.requests().len(), 2, "2,000 segments a day");
    assert_eq!(world.pending().await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn mms_wait_for_their_own_pace_while_sms_are_sent() {
    let world = World::start().await;
    let mut function = world.function_with(&[("SENDER_MMS_PER_SECOND", "0.1")]).await;
    let mut last = None;
    for number in 0..4 {
        let media = json!([{"url": "https://a.example/1"}]);
        last = Some(world.stored(NewSend { media, ..of("normal", &format!("mms {number}")) }).await);
    }
    world.stored(of("normal", "sms")).await;
    send(&mut function, [last.unwrap()]).await;
    let mut bodies = world.bodies();
    bodies.sort();
    assert_eq!(bodies, ["mms 0", "mms 1", "sms"]);
    assert_eq!(world.woken(), [(FROM.to_owned(), 10)]);
    world.time_passes(20).await;
    world.wake(&mut function).await;
    assert_eq!(world.pending().await, "0");
}
