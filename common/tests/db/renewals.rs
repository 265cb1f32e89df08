//! Repeated sends of one message: the SID of each attempt, and late callbacks for an earlier attempt.

use crate::now;
use crate::sends::{claimed, claims_of, new_send};
use crate::statuses::{accepted, callback, record};
use common::db::Db;
use common::db::senders;
use common::db::sends::{self, Claimed, SendResult};
use common::db::statuses::NewStatus;
use common::domain::ids::MessageId;
use common::domain::message::Status;
use jiff::ToSpan;
use testing::Database;

fn failure(sid: &str, status: &str, code: &str) -> NewStatus {
    let mut failure = callback(sid, status, None);
    failure.error_code = Some(code.to_owned());
    failure
}

/// Returns status, SID and error code of the message, and whether it waits for an attempt.
async fn message(database: &Database) -> String {
    let all = "select concat_ws(' ', delivery_status, coalesce(twilio_sid, '-'), coalesce(error_code, '-'),
                   case when delivery_status = 'pending' then 'waits' end) from sms_messages";
    database.scalar(all).await
}

/// Returns outcome and SID of each attempt.
async fn attempts(database: &Database) -> String {
    let all =
        "select string_agg(concat_ws(' ', outcome, twilio_sid), ',' order by number) from sms_send_attempts";
    database.scalar(all).await
}

async fn claim_again(db: &Db, id: MessageId, at: jiff::Timestamp) -> Claimed {
    claims_of(db, &[id], at).await.claimed.remove(0)
}

async fn taken(db: &Db, claim: &Claimed, sid: &str) {
    let outcome = SendResult::Accepted { twilio_sid: sid.parse().unwrap(), status: Status::Queued };
    sends::finish(db, &[(claim, &outcome)], now()).await.unwrap();
}

#[tokio::test]
async fn a_temporary_failure_is_sent_again_at_most_twice() {
    let database = Database::create().await;
    let db = database.db();
    let id = accepted(&database).await;
    let recorded = record(&db, &[failure("SM1", "undelivered", "30003")], now()).await.unwrap();
    let wait = recorded[0].renewed_at.unwrap().duration_since(now()).as_secs();
    assert!((7_190..=7_200).contains(&wait), "{wait}");
    assert_eq!(message(&database).await, "pending - 30003 waits");
    assert!(claims_of(&db, &[id], now() + 1.hour()).await.claimed.is_empty(), "it is not due yet");
    // A duplicate of the callback now belongs to an earlier attempt.
    assert!(record(&db, &[failure("SM1", "undelivered", "30003")], now()).await.unwrap().is_empty());

    let later = now() + 121.minutes();
    taken(&db, &claim_again(&db, id, later).await, "SM2").await;
    assert_eq!(message(&database).await, "queued SM2 -");
    record(&db, &[failure("SM2", "failed", "30003")], later).await.unwrap();
    assert_eq!(message(&database).await, "pending - 30003 waits");
    let later = later + 241.minutes();
    taken(&db, &claim_again(&db, id, later).await, "SM3").await;
    record(&db, &[failure("SM3", "undelivered", "30003")], later).await.unwrap();
    assert_eq!(message(&database).await, "undelivered SM3 30003");
    assert_eq!(attempts(&database).await, "accepted SM1,accepted SM2,accepted SM3");
    assert_eq!(
        database.scalar("select count(*) from sms_message_status_events where message_id is not null").await,
        "3"
    );
}

#[tokio::test]
async fn a_crash_after_the_callback_of_an_attempt_does_not_make_it_unknown() {
    let database = Database::create().await;
    let db = database.db();
    let claim = claimed(&db, new_send("+18605550100")).await;
    // Twilio reported a failure before the response to the create request was recorded.
    let mut early = failure("SM1", "undelivered", "30003");
    early.message_id = Some(claim.message_id);
    record(&db, &[early], now()).await.unwrap();
    let later = now() + 10.minutes();
    let abandoned = sends::abandon_claims(&db, later, later, 10).await.unwrap();
    assert_eq!((abandoned.ended, abandoned.unknown), (1, Vec::new()));
    assert_eq!(message(&database).await, "pending - 30003 waits");
    taken(&db, &claim_again(&db, claim.message_id, now() + 121.minutes()).await, "SM2").await;
    assert_eq!(attempts(&database).await, "accepted SM1,accepted SM2");
}

#[tokio::test]
async fn an_unknown_error_is_sent_again_once_and_a_permanent_one_never() {
    let database = Database::create().await;
    let db = database.db();
    let id = accepted(&database).await;
    record(&db, &[failure("SM1", "undelivered", "30008")], now()).await.unwrap();
    let later = now() + 121.minutes();
    taken(&db, &claim_again(&db, id, later).await, "SM2").await;
    record(&db, &[failure("SM2", "undelivered", "30008")], later).await.unwrap();
    assert_eq!(message(&database).await, "undelivered SM2 30008");

    for code in ["30004", "30005", "30006", "30007", "21610"] {
        let database = Database::create().await;
        accepted(&database).await;
        record(&database.db(), &[failure("SM1", "undelivered", code)], now()).await.unwrap();
        assert_eq!(message(&database).await, format!("undelivered SM1 {code}"));
    }
}

#[tokio::test]
async fn a_message_is_not_sent_again_after_it_expires() {
    let database = Database::create().await;
    let db = database.db();
    let mut send = new_send("+18605550100");
    send.send_before = Some(now() + 1.hour());
    taken(&db, &claimed(&db, send).await, "SM1").await;
    let recorded = record(&db, &[failure("SM1", "undelivered", "30003")], now()).await.unwrap();
    assert_eq!(recorded[0].renewed_at, None);
    assert_eq!(message(&database).await, "undelivered SM1 30003");
}

#[tokio::test]
async fn a_message_is_not_sent_again_after_an_opt_out() {
    let database = Database::create().await;
    let db = database.db();
    let id = accepted(&database).await;
    record(&db, &[failure("SM1", "undelivered", "30003")], now()).await.unwrap();
    database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    let claims = claims_of(&db, &[id], now() + 3.hours()).await;
    assert!(claims.claimed.is_empty() && claims.refused == [id]);
    assert_eq!(message(&database).await, "failed - opted_out");
}

#[tokio::test]
async fn a_late_delivery_of_an_earlier_attempt_cancels_the_next_and_a_late_failure_does_not() {
    let database = Database::create().await;
    let db = database.db();
    let id = accepted(&database).await;
    record(&db, &[failure("SM1", "undelivered", "30003")], now()).await.unwrap();
    record(&db, &[failure("SM1", "undelivered", "30005"), callback("SM1", "sent", None)], now())
        .await
        .unwrap();
    assert_eq!(message(&database).await, "pending - 30003 waits");
    record(&db, &[callback("SM1", "delivered", Some(id))], now()).await.unwrap();
    assert_eq!(message(&database).await, "delivered SM1 -");
    assert!(claims_of(&db, &[id], now() + 3.hours()).await.claimed.is_empty());
    assert!(senders::wake(&db, now() + 3.hours()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_delivery_of_an_earlier_attempt_counts_during_the_next_one() {
    let database = Database::create().await;
    let db = database.db();
    let id = accepted(&database).await;
    record(&db, &[failure("SM1", "undelivered", "30003")], now()).await.unwrap();
    let claim = claim_again(&db, id, now() + 3.hours()).await;
    record(&db, &[callback("SM1", "delivered", Some(id))], now()).await.unwrap();
    taken(&db, &claim, "SM2").await;
    assert_eq!(message(&database).await, "delivered SM2 -");
    assert_eq!(attempts(&database).await, "accepted SM1,accepted SM2");
}

#[tokio::test]
async fn a_failure_callback_before_the_create_response_keeps_the_next_attempt() {
    let database = Database::create().await;
    let db = database.db();
    let claim = claimed(&db, new_send("+18605550100")).await;
    let mut early = failure("SM1", "failed", "30003");
    early.message_id = Some(claim.message_id);
    record(&db, &[early], now()).await.unwrap();
    taken(&db, &claim, "SM1").await;
    assert_eq!(message(&database).await, "pending - 30003 waits");
    assert_eq!(
        database
            .scalar(
                "select claimed_at is null and next_attempt_at > timestamptz '2026-11-01T13:00:00Z' from sms_messages"
            )
            .await,
        "t"
    );
    assert_eq!(attempts(&database).await, "accepted SM1");
}

#[tokio::test]
async fn a_callback_with_an_unknown_sid_and_our_id_belongs_to_the_open_attempt() {
    let database = Database::create().await;
    let db = database.db();
    let id = accepted(&database).await;
    record(&db, &[failure("SM1", "undelivered", "30003")], now()).await.unwrap();
    let claim = claim_again(&db, id, now() + 3.hours()).await;
    let outcome = SendResult::Unknown { detail: "no answer".to_owned() };
    sends::finish(&db, &[(&claim, &outcome)], now()).await.unwrap();
    assert_eq!(message(&database).await, "unknown - -");
    record(&db, &[callback("SM2", "sent", Some(id))], now()).await.unwrap();
    assert_eq!(message(&database).await, "sent SM2 -");
    assert_eq!(attempts(&database).await, "accepted SM1,accepted SM2");
}

#[tokio::test]
async fn callbacks_of_two_attempts_in_one_batch_are_stored_and_one_changes_the_message() {
    let database = Database::create().await;
    let db = database.db();
    let claim = claimed(&db, new_send("+18605550100")).await;
    let id = Some(claim.message_id);
    record(&db, &[callback("SM1", "sent", id), callback("SM2", "sent", id)], now()).await.unwrap();
    assert_eq!(
        database.scalar("select delivery_status from sms_messages where twilio_sid like 'SM_'").await,
        "sent"
    );
    assert_eq!(
        database
            .scalar("select string_agg(twilio_sid, ',' order by twilio_sid) from sms_send_attempts")
            .await,
        "SM1,SM2"
    );
    assert_eq!(
        database.scalar("select count(*) from sms_message_status_events where message_id is not null").await,
        "2"
    );
}

#[tokio::test]
async fn after_a_restore_a_callback_prevents_a_second_send() {
    let database = Database::create().await;
    let db = database.db();
    let send = new_send("+18605550100");
    sends::create(&db, &send, None).await.unwrap();
    record(&db, &[callback("SM1", "delivered", Some(send.id))], now()).await.unwrap();
    assert_eq!(message(&database).await, "delivered SM1 -");
    assert_eq!(attempts(&database).await, "accepted SM1");
    assert!(claims_of(&db, &[send.id], now()).await.claimed.is_empty());
}

#[tokio::test]
async fn a_carrier_block_is_flagged_until_a_delivery() {
    let database = Database::create().await;
    let db = database.db();
    accepted(&database).await;
    record(&db, &[failure("SM1", "undelivered", "30004")], now()).await.unwrap();
    let blocked = "select carrier_blocked_at is not null from sms_conversations";
    assert_eq!(database.scalar(blocked).await, "t");
    taken(&db, &claimed(&db, new_send("+18605550100")).await, "SM2").await;
    record(&db, &[callback("SM2", "delivered", None)], now()).await.unwrap();
    assert_eq!(database.scalar(blocked).await, "f");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_callbacks_and_create_responses_lose_nothing() {
    let database = Database::create().await;
    let runs = (0..20).map(|number| {
        let db = database.db();
        tokio::spawn(async move {
            let claim = claimed(&db, new_send(&format!("+18605550{number:03}"))).await;
            let sid = format!("SM{number}");
            let told = [
                callback(&sid, "sent", Some(claim.message_id)),
                callback(&sid, "delivered", Some(claim.message_id)),
            ];
            let answer = SendResult::Accepted { twilio_sid: sid.parse().unwrap(), status: Status::Queued };
            let ended = [(&claim, &answer)];
            let (first, second, answered) = tokio::join!(
                record(&db, &told[..1], now()),
                record(&db, &told[1..], now()),
                sends::finish(&db, &ended, now())
            );
            first.unwrap();
            second.unwrap();
            answered.unwrap();
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
    assert_eq!(
        database
            .scalar(
                "select count(*) from sms_messages where delivery_status = 'delivered' and claimed_at is null"
            )
            .await,
        "20"
    );
    assert_eq!(
        database
            .scalar(
                "select count(*) from sms_send_attempts where outcome = 'accepted' and twilio_sid is not null"
            )
            .await,
        "20"
    );
}
