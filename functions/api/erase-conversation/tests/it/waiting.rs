//! Webhooks that were received before the erasure and are stored during or after it.

use crate::world::{OTHER, TENANT, World, inbound};
use testing::body;

const SHOWN: &str =
    "select string_agg(twilio_sid || ':' || message_content, ',' order by twilio_sid) from sms_messages";

#[tokio::test]
async fn a_redelivered_webhook_of_an_erased_message_brings_nothing_back() {
    let mut world = World::start().await;
    let message = inbound("SM1", TENANT, "my secret", &[]);
    world.store(std::slice::from_ref(&message)).await;
    world.erase(TENANT).await;
    // Twilio sends it again, and SQS delivers the first one again.
    world.store(&[inbound("SM1", TENANT, "my secret", &[]), message]).await;
    assert_eq!(world.database.scalar(SHOWN).await, "SM1:");
    assert_eq!(world.database.scalar("select count(*) from sms_message_payloads").await, "0");
}

#[tokio::test]
async fn a_message_that_was_queued_before_the_erasure_is_stored_without_content() {
    let mut world = World::start().await;
    world.store(&[inbound("SM1", TENANT, "hello", &[])]).await;
    let queued = inbound("SM2", TENANT, "Please stop texting me", &[("NumMedia", "0")]);
    world.erase(TENANT).await;
    world.store(&[queued, inbound("SM3", TENANT, "new", &[])]).await;
    assert_eq!(world.database.scalar(SHOWN).await, "SM1:,SM2:,SM3:new");
    let payloads = "select string_agg(m.twilio_sid, ',') from sms_message_payloads p join sms_messages m on \
        m.id = message_id";
    assert_eq!(world.database.scalar(payloads).await, "SM3");
    let ledger = "select concat_ws(' ', action, coalesce(words, '-'), evidence) from sms_opt_out_events";
    assert_eq!(world.database.scalar(ledger).await, "opt_out - SM2");
}

#[tokio::test]
async fn a_stop_in_the_spool_takes_effect_and_other_numbers_stay_there() {
    let mut world = World::start().await;
    world.store(&[inbound("SM1", TENANT, "hello", &[])]).await;
    world.spool("inbound", &[("MessageSid", "SM2"), ("From", TENANT), ("To", OTHER), ("Body", "STOP")]).await;
    world
        .spool("inbound", &[("MessageSid", "SM3"), ("From", OTHER), ("Body", &format!("call {TENANT}"))])
        .await;
    world
        .spool("status", &[("MessageSid", "SM4"), ("MessageStatus", "sent"), ("To", OTHER), ("From", TENANT)])
        .await;
    world.await_media("SM5", OTHER, TENANT).await;
    assert_eq!(body(&world.erase(TENANT).await)["erased"]["waiting_webhooks"], 1);
    assert_eq!(world.database.scalar(SHOWN).await, "SM1:,SM2:");
    assert_eq!(world.database.scalar("select opted_out_at is not null from sms_conversations").await, "t");
    assert_eq!(world.database.scalar("select count(*) from webhook_spool").await, "2");
    assert_eq!(world.database.scalar("select count(*) from twilio_awaiting_media").await, "1");
}

#[tokio::test]
async fn a_status_in_the_spool_keeps_what_its_message_needs() {
    let mut world = World::start().await;
    world.store(&[inbound("SM1", TENANT, "hello", &[])]).await;
    let form = [
        ("MessageSid", "SM2"),
        ("MessageStatus", "failed"),
        ("ErrorCode", "30005"),
        ("To", TENANT),
        ("X", "y"),
    ];
    world.spool("status", &form).await;
    assert_eq!(body(&world.erase(TENANT).await)["erased"]["waiting_webhooks"], 1);
    assert_eq!(
        world.database.scalar("select message ->> 'form' from webhook_spool").await,
        "MessageSid=SM2&MessageStatus=failed&ErrorCode=30005"
    );
    assert_eq!(body(&world.erase(TENANT).await)["erased"]["waiting_webhooks"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_messages_during_an_erasure_leaves_no_content_that_was_received_before() {
    let mut world = World::start().await;
    world.store(&[inbound("SM0", TENANT, "first", &[])]).await;
    let batch: Vec<_> = (1..=20).map(|n| inbound(&format!("SM{n:02}"), TENANT, "text", &[])).collect();
    // Both wait for the conversation and continue in any order.
    world.run("begin; select from sms_conversations for no key update").await;
    let waiting = "select count(*) from pg_stat_activity, pg_stat_clear_snapshot()
        where datname = current_database() and wait_event_type = 'Lock'";
    let (db, event) = (world.database.db(), crate::world::request(TENANT).event());
    let (reply, stored, ()) =
        tokio::join!(world.function.call(event), common::db::inbound::store(&db, &batch), async {
            testing::eventually("both wait", async || {
                (world.database.scalar(waiting).await == "2").then_some(())
            })
            .await;
            world.database.client.batch_execute("commit").await.unwrap();
        });
    assert_eq!((&reply["statusCode"], stored.unwrap().len()), (&serde_json::json!(200), 20));
    assert_eq!(
        world.database.scalar("select count(*) from sms_messages where message_content <> ''").await,
        "0"
    );
    assert_eq!(world.database.scalar("select count(*) from sms_message_payloads").await, "0");
    assert_eq!(world.database.scalar("select message_count from sms_conversations").await, "21");
}
