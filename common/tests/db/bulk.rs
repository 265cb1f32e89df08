//! Batches: what is stored, counted, paused, resumed, canceled and completed, also by functions that race.

use crate::now;
use crate::sends::{claims_of, new_send};
use crate::statuses::{callback, record};
use common::clock::new_id;
use common::db::Db;
use common::db::batches::{self, BatchChange, NewBulk};
use common::db::sends::{
    self, ClaimRequest, Claimed, Claims, Idempotency, NewSend, Passage, SendPace, SendResult,
};
use common::domain::batch::{BatchAction, BatchStatus};
use common::domain::event::{BatchCompleted, EventType, ServiceEvent};
use common::domain::ids::{BatchId, ConversationId, MessageId};
use common::domain::language::Language;
use common::domain::message::{Priority, Status};
use common::domain::sids::AccountSid;
use jiff::{Timestamp, ToSpan};
use serde_json::json;
use std::time::Duration;
use testing::Database;
use uuid::Uuid;

fn bulk_send(to: &str) -> NewSend {
    NewSend { priority: Priority::Bulk, ..new_send(to) }
}

/// Returns messages to different handsets.
fn messages(count: usize) -> Vec<(NewSend, Option<Language>)> {
    (0..count).map(|i| (bulk_send(&format!("+1860555{i:04}")), None)).collect()
}

fn account() -> AccountSid {
    "AC1".parse().unwrap()
}

/// Stores messages in a batch. Returns their conversations, or `None` if the key was used before.
async fn store(
    db: &Db,
    batch_id: BatchId,
    messages: &[(NewSend, Option<Language>)],
    idempotency: Option<&Idempotency>,
) -> Option<Vec<Option<ConversationId>>> {
    let bulk = NewBulk {
        batch_id,
        account_sid: &account(),
        messages,
        api_key_id: Uuid::nil(),
        request_id: "r-1",
        trace_context: None,
        created_at: now(),
    };
    let unconfirmed = batches::create(db, &bulk, idempotency).await.unwrap()?;
    let conversations = unconfirmed.conversations.clone();
    unconfirmed.confirm(db, Uuid::nil(), idempotency, "{\"stored\":true}").await.unwrap();
    Some(conversations)
}

/// Stores a batch of new messages. Returns the batch and the messages.
async fn batch_of(db: &Db, count: usize) -> (BatchId, Vec<MessageId>) {
    let (batch, messages) = (BatchId::from(new_id()), messages(count));
    store(db, batch, &messages, None).await.unwrap();
    (batch, messages.into_iter().map(|(send, _)| send.id).collect())
}

async fn progress(db: &Db, batch: BatchId) -> (BatchStatus, serde_json::Value) {
    let found = batches::find(db, batch).await.unwrap().unwrap();
    (found.status, found.by_status)
}

/// Claims at a pace that delays nothing.
async fn claim(db: &Db, ids: &[MessageId], at: Timestamp) -> Claims {
    let pace = SendPace { burst: 100_000, ..SendPace::default() };
    sends::claim(db, &ClaimRequest::messages(ids), &pace, at).await.unwrap()
}

async fn accept(db: &Db, claimed: &[Claimed], at: Timestamp) {
    let outcomes: Vec<SendResult> = claimed
        .iter()
        .map(|claim| SendResult::Accepted { twilio_sid: sid(claim.message_id), status: Status::Queued })
        .collect();
    let pairs: Vec<_> = claimed.iter().zip(&outcomes).collect();
    sends::finish(db, &pairs, at).await.unwrap();
}

fn sid(id: MessageId) -> common::domain::sids::MessageSid {
    format!("SM{}", id.uuid().simple()).parse().unwrap()
}

/// Walks through a batch to its end.
async fn resume(db: &Db, batch: BatchId, at: Timestamp) -> i32 {
    assert_eq!(batches::change(db, batch, BatchAction::Resume, at).await.unwrap(), BatchChange::Done);
    let (mut resumed, mut after) = (0, None);
    loop {
        let step = batches::resume_step(db, batch, after, at).await.unwrap();
        resumed += step.changed;
        after = step.last_id;
        if after.is_none() {
            break;
        }
    }
    batches::resumed(db, batch, at).await.unwrap();
    resumed
}

async fn completions(database: &Database) -> Vec<ServiceEvent<BatchCompleted>> {
    database.number_events().await;
    let sql = "select body from sms_events where event_type = $1 order by position";
    let rows = database.client.query(sql, &[&EventType::BatchCompleted.as_str()]).await.unwrap();
    let bodies: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let parsed = bodies.iter().map(|body| {
        let event: ServiceEvent<BatchCompleted> = serde_json::from_str(body).unwrap();
        assert_eq!(&serde_json::to_string(&event).unwrap(), body, "the text is that of the struct");
        event
    });
    parsed.collect()
}

#[tokio::test]
async fn a_request_is_stored_with_its_counts_and_without_opted_out_recipients() {
    let database = Database::create().await;
    let db = database.db();
    sends::create(&db, &new_send("+18605550001"), None).await.unwrap();
    database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    let batch = BatchId::from(new_id());
    let mut sends = messages(3);
    sends[2].1 = Some(Language::Es);
    sends[2].0.message_content = "hola".to_owned();
    sends[2].0.segments = 2;
    let conversations = store(&db, batch, &sends, None).await.unwrap();
    assert_eq!(conversations.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    let found = batches::find(&db, batch).await.unwrap().unwrap();
    assert_eq!((found.status, found.total, found.segments), (BatchStatus::Running, 2, 3));
    assert_eq!(found.by_status, json!({"pending": 2}));
    let row = "select concat_ws(' ', message_content, language, language_confidence, priority, batch_id is not null)
        from sms_messages where language = 'es'";
    assert_eq!(database.scalar(row).await, "hola es 1 bulk t");
    // A second request joins the batch.
    store(&db, batch, &[(bulk_send("+18605559999"), None)], None).await.unwrap();
    let found = batches::find(&db, batch).await.unwrap().unwrap();
    assert_eq!((found.total, found.segments, found.by_status), (3, 4, json!({"pending": 3})));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_with_one_key_create_one_batch_and_keep_its_response() {
    let database = Database::create().await;
    let key = Idempotency { key: "k-1".to_owned(), payload_hash: vec![1] };
    let runs = (0..8).map(|_| {
        let (db, key) = (database.db(), key.clone());
        tokio::spawn(
            async move { store(&db, BatchId::from(new_id()), &messages(20), Some(&key)).await.is_some() },
        )
    });
    let mut stored = 0;
    for run in runs.collect::<Vec<_>>() {
        stored += usize::from(run.await.unwrap());
    }
    assert_eq!(stored, 1);
    assert_eq!(database.scalar("select count(*) from sms_messages").await, "20");
    let first = batches::repeated(&database.db(), Uuid::nil(), &key, now()).await.unwrap().unwrap();
    assert!(first.same_payload);
    assert_eq!(first.response.as_deref(), Some("{\"stored\":true}"));
    let other = Idempotency { payload_hash: vec![2], ..key };
    let conflict = batches::repeated(&database.db(), Uuid::nil(), &other, now()).await.unwrap().unwrap();
    assert!(!conflict.same_payload);
}

#[tokio::test]
async fn a_request_that_is_not_confirmed_is_not_stored() {
    let database = Database::create().await;
    let (db, sends) = (database.db(), messages(3));
    let bulk = NewBulk {
        batch_id: new_id().into(),
        account_sid: &account(),
        messages: &sends,
        api_key_id: Uuid::nil(),
        request_id: "r-1",
        trace_context: None,
        created_at: now(),
    };
    drop(batches::create(&db, &bulk, None).await.unwrap());
    for table in ["sms_messages", "sms_conversations", "sms_batches"] {
        assert_eq!(database.scalar(&format!("select count(*) from {table}")).await, "0", "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_the_same_new_numbers_in_opposite_order_do_not_deadlock() {
    let database = Database::create().await;
    let runs = (0..6).map(|run| {
        let db = database.db();
        tokio::spawn(async move {
            let mut sends = messages(200);
            if run % 2 == 1 {
                sends.reverse();
            }
            store(&db, BatchId::from(new_id()), &sends, None).await.unwrap().iter().flatten().count()
        })
    });
    for run in runs.collect::<Vec<_>>() {
        assert_eq!(run.await.unwrap(), 200);
    }
    assert_eq!(database.scalar("select count(*) from sms_conversations").await, "200");
    assert_eq!(database.scalar("select sum(messages) from sms_batch_counts").await, "1200");
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_race_count_every_status_and_the_last_message_completes_the_batch() {
    let database = Database::create().await;
    let db = database.db();
    let (batch, ids) = batch_of(&db, 80).await;
    let runs = ids.chunks(10).map(|chunk| {
        let (db, chunk) = (database.db(), chunk.to_vec());
        tokio::spawn(async move {
            let allowed = ClaimRequest { allowed: Some(chunk.clone()), ..ClaimRequest::messages(&chunk) };
            let pace = SendPace { burst: 100_000, ..SendPace::default() };
            let claims = sends::claim(&db, &allowed, &pace, now()).await.unwrap();
            assert_eq!(claims.claimed.len(), 10);
            accept(&db, &claims.claimed, now()).await;
            // Two functions get the callbacks of one message, in any order.
            for words in [["sent", "queued"], ["delivered", "sending"]] {
                for id in &chunk {
                    let callbacks = words.map(|word| callback(sid(*id).as_str(), word, Some(*id)));
                    record(&db, &callbacks, now()).await.unwrap();
                }
            }
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
    assert_eq!(progress(&db, batch).await, (BatchStatus::Completed, json!({"delivered": 80})));
    let events = completions(&database).await;
    assert_eq!(events.len(), 1);
    let data = &events[0].data;
    assert_eq!(
        (data.batch_id, data.status, data.total, data.segments),
        (batch, BatchStatus::Completed, 80, 80)
    );
    assert_eq!(serde_json::to_value(&data.by_status).unwrap(), json!({"delivered": 80}));
    assert_eq!(
        batches::change(&db, batch, BatchAction::Cancel, now()).await.unwrap(),
        BatchChange::Ended(BatchStatus::Completed)
    );
}

#[tokio::test]
async fn a_batch_of_refused_messages_is_complete_at_once() {
    let database = Database::create().await;
    let db = database.db();
    let batch = BatchId::from(new_id());
    assert_eq!(store(&db, batch, &[], None).await, Some(vec![]));
    assert_eq!(progress(&db, batch).await, (BatchStatus::Completed, json!({})));
    assert_eq!(completions(&database).await.len(), 1);
    // Messages that join it make it run again.
    store(&db, batch, &messages(1), None).await.unwrap();
    assert_eq!(progress(&db, batch).await.0, BatchStatus::Running);
}

#[tokio::test]
async fn a_paused_batch_leaves_the_queue_and_returns_when_it_is_resumed() {
    let database = Database::create().await;
    let db = database.db();
    let (batch, ids) = batch_of(&db, 300).await;
    // The only message behind it. A claim takes at most 20.
    let other = NewSend { created_at: now() + 1.second(), ..bulk_send("+12035550100") };
    sends::create(&db, &other, None).await.unwrap();
    batches::change(&db, batch, BatchAction::Pause, now()).await.unwrap();
    let claims = claim(&db, &ids[..1], now() + 2.seconds()).await;
    assert_eq!(claims.claimed.iter().map(|claim| claim.message_id).collect::<Vec<_>>(), [other.id]);
    assert_eq!(progress(&db, batch).await, (BatchStatus::Paused, json!({"pending": 300})));
    // A paused message does not expire.
    let days_later = now() + 100.hours();
    assert_eq!(sends::expire(&db, days_later, Duration::from_secs(86_400), 1000).await.unwrap(), []);
    assert!(claim(&db, &ids[..1], days_later).await.claimed.is_empty());

    assert_eq!(resume(&db, batch, days_later).await, 300);
    let claims = claim(&db, &ids[..1], days_later).await;
    assert_eq!((claims.claimed.len(), claims.refused.len()), (20, 0));
    // A repetition changes nothing.
    assert_eq!(resume(&db, batch, days_later).await, 0);
}

#[tokio::test]
async fn a_message_that_was_claimed_before_a_pause_does_not_pass_the_gate() {
    let database = Database::create().await;
    let db = database.db();
    let (batch, ids) = batch_of(&db, 1).await;
    for action in [BatchAction::Pause, BatchAction::Cancel] {
        let claims = claim(&db, &ids, now()).await.claimed;
        batches::change(&db, batch, action, now()).await.unwrap();
        let (passages, held) = sends::pass_gate(&db, &[&claims[0]], now()).await.unwrap();
        held.release().await;
        assert_eq!(passages[&ids[0]], Passage::Stopped);
        let outcome =
            SendResult::Deferred { next_attempt_at: now(), error_code: None, detail: "stopped".to_owned() };
        sends::finish(&db, &[(&claims[0], &outcome)], now()).await.unwrap();
        if action == BatchAction::Pause {
            resume(&db, batch, now()).await;
        }
    }
    assert!(claim(&db, &ids, now()).await.claimed.is_empty());
    let step = batches::cancel_step(&db, batch, None, now()).await.unwrap();
    assert_eq!((step.changed, step.last_id), (1, None));
    assert_eq!(progress(&db, batch).await, (BatchStatus::Cancelled, json!({"canceled": 1})));
}

#[tokio::test]
async fn a_cancellation_cancels_what_was_not_handed_over() {
    let database = Database::create().await;
    let db = database.db();
    let (batch, ids) = batch_of(&db, 50).await;
    let claimed = claims_of(&db, &ids[..1], now()).await.claimed;
    assert!(!claimed.is_empty() && claimed.len() < 50);
    assert_eq!(batches::change(&db, batch, BatchAction::Cancel, now()).await.unwrap(), BatchChange::Done);
    let unfinished = batches::unfinished(&db, 10).await.unwrap();
    assert_eq!(unfinished.iter().map(|batch| batch.id).collect::<Vec<_>>(), [batch]);
    let step = batches::cancel_step(&db, batch, None, now()).await.unwrap();
    assert_eq!(usize::try_from(step.changed).unwrap(), 50 - claimed.len());
    // The outcome of a call that was made counts.
    accept(&db, &claimed, now()).await;
    let canceled = 50 - claimed.len();
    assert_eq!(
        progress(&db, batch).await,
        (BatchStatus::Cancelled, json!({"canceled": canceled, "queued": claimed.len()}))
    );
    for claim in &claimed {
        record(&db, &[callback(sid(claim.message_id).as_str(), "delivered", None)], now()).await.unwrap();
    }
    let events = completions(&database).await;
    assert_eq!(events.iter().map(|event| event.data.status).collect::<Vec<_>>(), [BatchStatus::Cancelled]);
    assert!(batches::unfinished(&db, 10).await.unwrap().is_empty());
    // A repetition is fine, a resumption is not.
    assert_eq!(batches::change(&db, batch, BatchAction::Cancel, now()).await.unwrap(), BatchChange::Done);
    assert_eq!(
        batches::change(&db, batch, BatchAction::Resume, now()).await.unwrap(),
        BatchChange::Ended(BatchStatus::Cancelled)
    );
    let unknown = batches::change(&db, new_id().into(), BatchAction::Pause, now()).await.unwrap();
    assert_eq!(unknown, BatchChange::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_race_with_pauses_and_resumptions_leave_no_message_behind() {
    let database = Database::create().await;
    let db = database.db();
    let (batch, ids) = batch_of(&db, 400).await;
    let pausing = {
        let db = database.db();
        tokio::spawn(async move {
            for _ in 0..30 {
                batches::change(&db, batch, BatchAction::Pause, now()).await.unwrap();
                tokio::task::yield_now().await;
                resume(&db, batch, now()).await;
            }
        })
    };
    let claiming: Vec<_> = (0..3)
        .map(|_| {
            let (db, id) = (database.db(), ids[0]);
            tokio::spawn(async move {
                let mut taken = 0;
                for _ in 0..15 {
                    taken += claim(&db, &[id], now()).await.claimed.len();
                }
                taken
            })
        })
        .collect();
    let mut taken = 0;
    for run in claiming {
        taken += run.await.unwrap();
    }
    pausing.await.unwrap();
    // It runs now, so every other message is due.
    loop {
        let claims = claim(&db, &ids[..1], now()).await;
        if claims.claimed.is_empty() {
            break;
        }
        taken += claims.claimed.len();
    }
    assert_eq!(taken, 400);
    assert_eq!(progress(&db, batch).await, (BatchStatus::Running, json!({"pending": 400})));
}

#[tokio::test]
async fn a_batch_without_further_statuses_is_completed_after_a_time() {
    let database = Database::create().await;
    let db = database.db();
    let (batch, ids) = batch_of(&db, 2).await;
    let claims = claim(&db, &ids, now()).await.claimed;
    accept(&db, &claims[..1], now()).await;
    let later = now() + 11.hours();
    let complete = async || batches::complete(&db, later - 10.hours(), later, 100).await.unwrap();
    assert_eq!(complete().await, 0, "a message is pending");
    accept(&db, &claims[1..], now()).await;
    assert_eq!(complete().await, 1);
    assert_eq!(progress(&db, batch).await, (BatchStatus::Completed, json!({"queued": 2})));
    assert_eq!(complete().await, 0);
    assert_eq!(completions(&database).await.len(), 1);
    // Later statuses are still counted.
    record(&db, &[callback(sid(ids[0]).as_str(), "delivered", None)], later).await.unwrap();
    assert_eq!(progress(&db, batch).await.1, json!({"delivered": 1, "queued": 1}));
}
