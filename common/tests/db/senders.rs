//! Wake-ups of senders at given times.

use crate::now;
use common::db::{Db, senders};
use jiff::{Timestamp, ToSpan};
use std::collections::HashSet;
use testing::Database;

/// Creates 350 due messages of 30 senders.
async fn thirty_senders_with_due_messages() -> Database {
    let database = Database::create().await;
    let many = "
        insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
        values (gen_random_uuid(), 'AC1', '+1', '+1', now());
        insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content,
        delivery_status,
            next_attempt_at, created_at)
        select gen_random_uuid(), c.id, 'outbound', '+1555' || n % 30, '+1', '', 'pending', '2026-11-01T11:00:00Z',
        now()
        from sms_conversations c, generate_series(1, 350) n";
    database.client.batch_execute(many).await.unwrap();
    database
}

async fn woken(db: &Db, at: Timestamp) -> Vec<String> {
    senders::wake(db, at).await.unwrap().into_iter().map(|(wake_up, _)| wake_up.sender.into()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_runs_wake_each_sender_once() {
    let database = thirty_senders_with_due_messages().await;
    let runs = (0..8).map(|_| {
        let db = database.db();
        tokio::spawn(async move { woken(&db, now()).await })
    });
    let mut senders = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        senders.extend(run.await.unwrap());
    }
    assert_eq!((senders.len(), senders.into_iter().collect::<HashSet<_>>().len()), (30, 30));
}

#[tokio::test]
async fn a_run_with_a_slow_or_fast_clock_does_not_repeat_wake_ups() {
    let database = thirty_senders_with_due_messages().await;
    let db = database.db();
    assert_eq!(woken(&db, now()).await.len(), 30);
    assert!(woken(&db, now() - 900.milliseconds()).await.is_empty());
    assert!(woken(&db, now() + 900.milliseconds()).await.is_empty());
}

#[tokio::test]
async fn an_overdue_or_too_late_wake_up_is_repeated() {
    let database = thirty_senders_with_due_messages().await;
    let db = database.db();
    assert_eq!(woken(&db, now()).await.len(), 30);
    assert_eq!(woken(&db, now() + 1.second()).await.len(), 30, "the first wake-ups are overdue");
    let late = "update sms_senders set wake_at = '2026-11-01T12:00:40Z'";
    database.client.batch_execute(late).await.unwrap();
    assert_eq!(woken(&db, now() + 2.seconds()).await.len(), 30, "the messages are due before the wake-ups");
}
