//! Changes to a message between its claim and its request, or between two attempts: the gate checks every condition
//! again.

use crate::twilio::Reply::{Accept, HoldAndRefuse, Refuse};
use crate::{World, metric, send, sid};
use common::clock;
use common::db::statuses::{self, NewStatus};
use common::domain::ids::MessageId;
use common::domain::message::Status;
use common::twilio::RenewalPolicy;
use serde_json::{Value, json};
use testing::Function;

/// A status callback of an earlier create.
async fn callback(world: &World, id: MessageId, sid: &str, word: &str, code: Option<&str>) {
    let told = NewStatus {
        id: clock::new_id(),
        twilio_sid: sid.parse().unwrap(),
        message_id: Some(id),
        event_status: word.to_owned(),
        status: Status::from_twilio(word),
        error_code: code.map(str::to_owned),
        raw_webhook_data: Value::Null,
        nul_removed: false,
        received_at: clock::now(),
    };
    statuses::record(&world.database.db(), &[told], &RenewalPolicy::default(), clock::now()).await.unwrap();
}

/// A message whose first create failed temporarily and that is due again.
async fn renewed(world: &World, function: &mut Function) -> MessageId {
    let id = world.message().await;
    send(function, [id]).await;
    callback(world, id, &sid(1), "undelivered", Some("30008")).await;
    world.time_passes(3 * 3_600).await;
    assert_eq!(world.state(id).await, "pending 30008 - free");
    id
}

/// Changes something after the claim and before the gate is passed: in the transaction that keeps the gate closed, or
/// outside it.
async fn between_claim_and_gate(
    world: &World,
    function: &mut Function,
    id: MessageId,
    happens: impl AsyncFnOnce(),
) {
    let close = "begin; select pg_advisory_xact_lock(uuid_hash_extended(id, 0)) from sms_conversations";
    world.database.client.batch_execute(close).await.unwrap();
    tokio::join!(send(function, [id]), async {
        world.somebody_waits().await;
        happens().await;
        world.database.client.batch_execute("commit").await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_delivered_between_claim_and_gate_is_not_created_again() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = renewed(&world, &mut function).await;
    between_claim_and_gate(&world, &mut function, id, async || {
        callback(&world, id, &sid(1), "delivered", None).await;
    })
    .await;
    assert_eq!(world.twilio.requests().len(), 1);
    assert_eq!(world.state(id).await, "delivered - - free");
    assert_eq!(world.attempts(id).await, "accepted,not_processed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_or_claim_that_ends_before_the_gate_is_not_created() {
    let ends = [
        ("update sms_messages set delivery_status = 'canceled'", "canceled - - free"),
        ("update sms_messages set delivery_status = 'unknown', parked_at = now()", "unknown - - free"),
        ("update sms_messages set claimed_at = null", "pending - - free"),
        ("update sms_messages set claimed_at = claimed_at + interval '1 microsecond'", "pending - - free"),
        ("update sms_send_attempts set outcome = 'unknown', finished_at = now()", "pending - - free"),
        (
            "insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, started_at)
             select gen_random_uuid(), message_id, 0, 'accepted', 'SM9', started_at from sms_send_attempts",
            "pending - - free",
        ),
        (
            "update sms_messages set send_before = now() - interval '1 second'",
            "failed retries_exhausted - free",
        ),
    ];
    for (end, state) in ends {
        let world = World::start().await;
        let mut function = world.function().await;
        let id = world.message().await;
        between_claim_and_gate(&world, &mut function, id, async || {
            world.database.client.batch_execute(end).await.unwrap();
        })
        .await;
        assert!(world.twilio.requests().is_empty(), "{end}");
        assert_eq!(world.state(id).await, state, "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_delivered_between_two_attempts_is_not_retried() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = renewed(&world, &mut function).await;
    world.twilio.replies([HoldAndRefuse(429, 20429, None), Accept]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(2).await;
        callback(&world, id, &sid(1), "delivered", None).await;
        world.twilio.release();
    });
    assert_eq!(world.twilio.requests().len(), 2, "the second create was sent, a third must not be");
    assert_eq!(world.state(id).await, "delivered - - free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_message_and_a_second_attempt_pass_the_gate() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = renewed(&world, &mut function).await;
    world.twilio.replies([Refuse(429, 20429, None), Accept]);
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(3)));
    assert_eq!(metric(&function, "sends_accepted", 2).await, [json!(1.0), json!(1.0)]);
}
