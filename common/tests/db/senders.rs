//! Who is woken, at times that the tests give.

use crate::now;
use common::db::{Db, senders};
use jiff::{Timestamp, ToSpan};
use std::collections::HashSet;
use testing::Database;

/// Has 350 messages wait behind 30 senders.
async fn thirty_senders_with_something_due() -> Database {
    let database = Database::create().await;
    let many = "
        insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
        values (gen_random_uuid(), 'AC1', '+1', '+1', now());
        insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content, delivery_status,
            next_attempt_at, created_at)
        select gen_random_uuid(), c.id, 'outbound', '+1555' || n % 30, '+1', '', 'pending', '2026-11-01T11:00:00Z', now()
        from sms_conversations c, generate_series(1, 350) n";
    database.client.batch_execute(many).await.unwrap();
    database
}

async fn woken(db: &Db, at: Timestamp) -> Vec<String> {
    senders::wake(db, at).await.unwrap().into_iter().map(|(wake_up, _)| wake_up.sender).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_side_by_side_wake_each_sender_once() {
    let database = thirty_senders_with_something_due().await;
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
async fn a_run_whose_clock_is_a_little_behind_wakes_nobody_again() {
    let database = thirty_senders_with_something_due().await;
    let db = database.db();
    assert_eq!(woken(&db, now()).await.len(), 30);
    assert!(woken(&db, now() - 900.milliseconds()).await.is_empty());
    assert!(woken(&db, now() + 900.milliseconds()).await.is_empty());
}

#[tokio::test]
async fn a_wake_up_that_is_overdue_or_comes_too_late_for_what_is_due_is_made_again() {
    let database = thirty_senders_with_something_due().await;
    let db = database.db();
    assert_eq!(woken(&db, now()).await.len(), 30);
    assert_eq!(woken(&db, now() + 1.second()).await.len(), 30, "nobody came");
    let late = "update sms_senders set wake_at = '2026-11-01T12:00:40Z'";
    database.client.batch_execute(late).await.unwrap();
    assert_eq!(woken(&db, now() + 2.seconds()).await.len(), 30, "these are due before that");
}
