use crate::{inbound, now};
use common::db::inbound::{OptOutChange, store};
use common::domain::opt_out::{OptOutAction, OptOutSource};
use jiff::ToSpan;
use testing::Database;

#[tokio::test]
async fn a_batch_stores_each_message_once_with_its_conversation() {
    let database = Database::create().await;
    let db = database.db();
    let batch = [
        inbound("SM1", "+18605550100"),
        inbound("SM2", "+18605550100"),
        inbound("SM1", "+18605550100"),
        inbound("SM3", "+18615550100"),
    ];
    assert_eq!(store(&db, &batch).await.unwrap().len(), 3);
    assert_eq!(database.scalar("select count(*) from sms_conversations").await, "2");
    assert_eq!(
        database
            .scalar(
                "select string_agg(message_count::text, ',' order by phone_number_canonical) \
        from sms_conversations"
            )
            .await,
        "2,1"
    );
}

#[tokio::test]
async fn a_duplicate_message_changes_nothing() {
    let database = Database::create().await;
    let db = database.db();
    store(&db, &[inbound("SM1", "+18605550100")]).await.unwrap();
    let before = database.scalar("select md5(string_agg(c::text, '')) from sms_conversations c").await;
    let mut again = inbound("SM1", "+18605550100");
    again.received_at = now() + 1.hour();
    assert!(store(&db, &[again]).await.unwrap().is_empty());
    assert_eq!(database.scalar("select md5(string_agg(c::text, '')) from sms_conversations c").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_batches_create_one_conversation_per_number_without_deadlocks() {
    let database = Database::create().await;
    let numbers: Vec<String> = (0..10).map(|n| format!("+1860{n}")).collect();
    let runs = (0..8).map(|run| {
        let db = database.db();
        let mut batch: Vec<_> =
            numbers.iter().enumerate().map(|(i, n)| inbound(&format!("SM{run}-{i}"), n)).collect();
        batch.push(inbound("SM-shared", "+18600"));
        if run % 2 == 1 {
            batch.reverse();
        }
        tokio::spawn(async move { store(&db, &batch).await.unwrap().len() })
    });
    let mut stored = 0;
    for run in runs.collect::<Vec<_>>() {
        stored += run.await.unwrap();
    }
    assert_eq!(stored, 81);
    assert_eq!(database.scalar("select count(*) from sms_conversations").await, "10");
    assert_eq!(database.scalar("select sum(message_count) from sms_conversations").await, "81");
}

#[tokio::test]
async fn the_time_of_the_last_message_never_decreases() {
    let database = Database::create().await;
    let db = database.db();
    let mut late = inbound("SM2", "+18605550100");
    late.received_at = now() + 1.hour();
    store(&db, &[late]).await.unwrap();
    store(&db, &[inbound("SM1", "+18605550100")]).await.unwrap();
    assert_eq!(
        database.scalar("select last_message_at = '2026-11-01T13:00:00Z' from sms_conversations").await,
        "t"
    );
}

#[tokio::test]
async fn the_latest_keyword_decides_the_opt_out_regardless_of_arrival_order() {
    let database = Database::create().await;
    let db = database.db();
    let word = |sid: &str, action: OptOutAction, hours: i64| {
        let mut message = inbound(sid, "+18605550100");
        message.received_at = now() + hours.hours();
        message.opt_out =
            Some(OptOutChange { action, source: OptOutSource::Keyword, words: Some("STOP".to_owned()) });
        message
    };
    let opted_out = async || database.scalar("select opted_out_at is not null from sms_conversations").await;
    store(&db, &[word("SM2", OptOutAction::OptIn, 2)]).await.unwrap();
    store(&db, &[word("SM1", OptOutAction::OptOut, 1)]).await.unwrap();
    assert_eq!(opted_out().await, "f", "the START came after the STOP");
    store(&db, &[word("SM3", OptOutAction::OptOut, 3)]).await.unwrap();
    assert_eq!(opted_out().await, "t");
    assert_eq!(database.scalar("select count(*) from sms_opt_out_events").await, "3");
}

#[tokio::test]
async fn a_sid_of_an_outbound_message_is_never_stored_as_inbound() {
    let database = Database::create().await;
    let db = database.db();
    crate::statuses::accepted(&database).await;
    // The message was reported as failed and waits for its next attempt. Only the first attempt has the SID.
    let renewed = "update sms_messages set twilio_sid = null, delivery_status = 'pending'";
    database.client.batch_execute(renewed).await.unwrap();
    assert_eq!(
        store(&db, &[inbound("SM1", "+18615550100"), inbound("SM2", "+18615550100")]).await.unwrap().len(),
        1
    );
    let stored = "select string_agg(direction || ' ' || coalesce(twilio_sid, '-'), ',' order by direction) \
        from sms_messages";
    assert_eq!(database.scalar(stored).await, "inbound SM2,outbound -");
}
