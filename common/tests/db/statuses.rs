use crate::now;
use crate::sends::{claimed, claims_of, new_send};
use common::clock::new_id;
use common::db::sends::{self, SendResult};
use common::db::statuses::{self, NewStatus, RecordedStatus};
use common::db::{Db, DbError};
use common::domain::delivery_failure::RecipientEffect;
use common::domain::ids::MessageId;
use common::domain::message::Status;
use common::twilio::RenewalPolicy;
use jiff::Timestamp;
use serde_json::json;
use testing::Database;

/// Records callbacks with the default retry policy.
pub async fn record(
    db: &Db,
    callbacks: &[NewStatus],
    now: Timestamp,
) -> Result<Vec<RecordedStatus>, DbError> {
    statuses::record(db, callbacks, &RenewalPolicy::default(), now).await
}

pub fn callback(sid: &str, status: &str, message_id: Option<MessageId>) -> NewStatus {
    NewStatus {
        id: new_id(),
        twilio_sid: sid.parse().unwrap(),
        message_id,
        event_status: status.to_owned(),
        status: Status::from_twilio(status),
        error_code: (status == "failed").then(|| "30005".to_owned()),
        raw_webhook_data: json!({"MessageStatus": status}),
        nul_removed: false,
        received_at: now(),
    }
}

/// Stores a message that Twilio accepted as `SM1`.
pub async fn accepted(database: &Database) -> MessageId {
    let db = database.db();
    let claim = claimed(&db, new_send("+18605550100")).await;
    let outcome = SendResult::Accepted { twilio_sid: "SM1".parse().unwrap(), status: Status::Queued };
    sends::finish(&db, &[(&claim, &outcome)], now()).await.unwrap();
    claim.message_id
}

const STATUS: &str = "select delivery_status from sms_messages";

#[tokio::test]
async fn callbacks_in_every_order_lead_to_the_same_status_singly_and_in_a_batch() {
    let words = ["queued", "sending", "sent", "delivered"];
    for rotation in 0..4 {
        for reverse in [false, true] {
            let mut order: Vec<_> = words.iter().cycle().skip(rotation).take(4).collect();
            if reverse {
                order.reverse();
            }
            for batched in [false, true] {
                let database = Database::create().await;
                let id = accepted(&database).await;
                let callbacks: Vec<_> = order.iter().map(|word| callback("SM1", word, Some(id))).collect();
                let size = if batched { 4 } else { 1 };
                for batch in callbacks.chunks(size) {
                    record(&database.db(), batch, now()).await.unwrap();
                }
                assert_eq!(database.scalar(STATUS).await, "delivered", "{order:?}");
                assert_eq!(database.scalar("select count(*) from sms_message_status_events").await, "4");
            }
        }
    }
}

#[tokio::test]
async fn a_callback_is_recorded_once() {
    let database = Database::create().await;
    accepted(&database).await;
    let db = database.db();
    assert_eq!(
        record(&db, &[callback("SM1", "sent", None), callback("SM1", "sent", None)], now())
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(record(&db, &[callback("SM1", "sent", None)], now()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_first_final_status_is_kept_and_a_contradiction_is_flagged() {
    let database = Database::create().await;
    accepted(&database).await;
    let db = database.db();
    record(&db, &[callback("SM1", "delivered", None)], now()).await.unwrap();
    let recorded = record(&db, &[callback("SM1", "failed", None)], now()).await.unwrap();
    assert!(recorded[0].contradicts);
    assert_eq!(
        database.scalar("select delivery_status || coalesce(error_code, '') from sms_messages").await,
        "delivered"
    );
    record(&db, &[callback("SM1", "read", None)], now()).await.unwrap();
    assert_eq!(database.scalar(STATUS).await, "read");
}

#[tokio::test]
async fn contradicting_final_statuses_in_one_batch_keep_the_first_and_flag_the_second() {
    let database = Database::create().await;
    accepted(&database).await;
    let batch = [callback("SM1", "delivered", None), callback("SM1", "failed", None)];
    record(&database.db(), &batch, now()).await.unwrap();
    assert_eq!(database.scalar(STATUS).await, "delivered");
    assert_eq!(
        database
            .scalar("select string_agg(event_status, ',') from sms_message_status_events where contradicts")
            .await,
        "failed"
    );
}

#[tokio::test]
async fn unknown_statuses_are_stored_verbatim_and_change_nothing() {
    let database = Database::create().await;
    accepted(&database).await;
    record(
        &database.db(),
        &[callback("SM1", "partially_delivered", None), callback("SM1", "teleported", None)],
        now(),
    )
    .await
    .unwrap();
    assert_eq!(database.scalar(STATUS).await, "queued");
    assert_eq!(
        database.scalar("select count(*) from sms_message_status_events where message_id is not null").await,
        "2"
    );
}

#[tokio::test]
async fn a_callback_before_the_create_response_sets_the_sid_of_its_message() {
    let database = Database::create().await;
    let db = database.db();
    let claim = claimed(&db, new_send("+18605550100")).await;
    record(&db, &[callback("SM1", "sent", Some(claim.message_id))], now()).await.unwrap();
    assert_eq!(
        database.scalar("select twilio_sid || ' ' || delivery_status from sms_messages").await,
        "SM1 sent"
    );
    assert_eq!(database.scalar("select outcome from sms_send_attempts").await, "accepted");
    // The response recorded afterwards only ends the claim.
    let outcome = SendResult::Accepted { twilio_sid: "SM1".parse().unwrap(), status: Status::Queued };
    sends::finish(&db, &[(&claim, &outcome)], now()).await.unwrap();
    assert_eq!(
        database
            .scalar(
                "select twilio_sid || ' ' || delivery_status || ' ' || (claimed_at is null) from sms_messages"
            )
            .await,
        "SM1 sent true"
    );
}

#[tokio::test]
async fn a_callback_for_an_unknown_sid_is_stored_and_applied_when_the_sid_is_known() {
    let database = Database::create().await;
    let db = database.db();
    record(&db, &[callback("SM1", "sent", None), callback("SM1", "delivered", None)], now()).await.unwrap();
    let id = accepted(&database).await;
    assert_eq!(database.scalar(STATUS).await, "queued");
    assert_eq!(
        statuses::join_orphans(&db, Some(&"SM1".parse().unwrap()), &RenewalPolicy::default(), now())
            .await
            .unwrap(),
        2
    );
    assert_eq!(database.scalar(STATUS).await, "delivered");
    assert_eq!(
        database
            .scalar(&format!("select count(*) from sms_message_status_events where message_id = '{id}'"))
            .await,
        "2"
    );
}

#[tokio::test]
async fn the_sid_takes_precedence_over_the_id_of_another_message() {
    let database = Database::create().await;
    let db = database.db();
    let first = accepted(&database).await;
    let other = new_send("+18615550100");
    let other_id = other.id;
    sends::create(&db, &other, None).await.unwrap();
    let recorded = record(&db, &[callback("SM1", "delivered", Some(other_id))], now()).await.unwrap();
    assert_eq!(recorded[0].message_id, Some(first));
    assert_eq!(recorded[0].disagreeing_id, Some(other_id));
    assert_eq!(
        database.scalar(&format!("select delivery_status from sms_messages where id = '{other_id}'")).await,
        "pending"
    );
}

#[tokio::test]
async fn an_opt_out_reported_by_twilio_is_stored_once() {
    let database = Database::create().await;
    let db = database.db();
    accepted(&database).await;
    let mut refused = callback("SM1", "failed", None);
    refused.error_code = Some("21610".to_owned());
    record(&db, &[refused.clone()], now()).await.unwrap();
    record(&db, &[refused], now()).await.unwrap();
    assert_eq!(database.scalar("select count(*) from sms_opt_out_events").await, "1");
    assert_eq!(database.scalar("select opted_out_at is not null from sms_conversations").await, "t");
}

/// Records an opt-in of the only conversation.
async fn opted_in(database: &Database, at: Timestamp) {
    let event = format!(
        "insert into sms_opt_out_events (id, conversation_id, action, source, evidence, created_at)
         select gen_random_uuid(), id, 'opt_in', 'keyword', 'SM-start', '{at}' from sms_conversations"
    );
    database.client.batch_execute(&event).await.unwrap();
}

const OPTED_OUT: &str = "select opted_out_at is not null from sms_conversations";

#[tokio::test]
async fn an_opt_out_in_a_late_callback_counts_from_the_send_time() {
    let hours = jiff::SignedDuration::from_hours;
    for (opt_in_at, opted_out) in [(now() + hours(1), "f"), (now() - hours(1), "t")] {
        let database = Database::create().await;
        accepted(&database).await;
        opted_in(&database, opt_in_at).await;
        let refused = NewStatus {
            error_code: Some("21610".to_owned()),
            received_at: now() + hours(2),
            ..callback("SM1", "failed", None)
        };
        record(&database.db(), &[refused], now() + hours(2)).await.unwrap();
        assert_eq!(database.scalar(OPTED_OUT).await, opted_out, "{opt_in_at}");
        let history = "select extract(hour from created_at)::int from sms_message_status_events";
        assert_eq!(database.scalar(history).await, "14", "the history shows when it was reported");
    }
}

#[tokio::test]
async fn an_opt_out_in_a_late_create_response_counts_from_the_send_time() {
    let database = Database::create().await;
    let claim = claimed(&database.db(), new_send("+18605550100")).await;
    opted_in(&database, now() + jiff::SignedDuration::from_secs(5)).await;
    let refused = SendResult::Failed {
        by_twilio: true,
        error_code: "21610".to_owned(),
        recipient: Some(RecipientEffect::OptedOut),
        detail: String::new(),
    };
    let late = now() + jiff::SignedDuration::from_secs(10);
    sends::finish(&database.db(), &[(&claim, &refused)], late).await.unwrap();
    assert_eq!(database.scalar("select count(*) from sms_opt_out_events").await, "2");
    assert_eq!(database.scalar(OPTED_OUT).await, "f");
}

fn failure(sid: &str, status: &str, code: Option<&str>) -> NewStatus {
    NewStatus { error_code: code.map(str::to_owned), ..callback(sid, status, None) }
}

const STATUS_AND_CODE: &str =
    "select concat_ws(' ', delivery_status, coalesce(error_code, '-')) from sms_messages";

/// Callbacks in order of arrival (status and code), and the resulting status and code of the message. The first three
/// cases are from public bug reports (chatwoot/chatwoot#14149).
type ErrorCodeCase = (&'static [(&'static str, Option<&'static str>)], &'static str);

const ERROR_CODE_CASES: &[ErrorCodeCase] = &[
    (&[("failed", None), ("failed", Some("30007"))], "failed 30007"),
    (&[("undelivered", None), ("undelivered", Some("30006"))], "undelivered 30006"),
    (&[("failed", None), ("failed", Some("21610"))], "failed 21610"),
    (&[("failed", Some("30007")), ("failed", None)], "failed 30007"),
    (&[("failed", Some("30007")), ("failed", Some("30006"))], "failed 30007"),
    (&[("failed", None), ("undelivered", Some("30006"))], "failed 30006"),
    (&[("undelivered", None), ("sent", Some("30006"))], "undelivered 30006"),
    (&[("sent", Some("30006")), ("undelivered", None)], "undelivered 30006"),
    (&[("sent", Some("30006")), ("undelivered", Some("30007"))], "undelivered 30006"),
    (&[("sent", Some("30006")), ("delivered", None)], "delivered -"),
    (&[("delivered", None), ("failed", Some("30006"))], "delivered -"),
    (&[("failed", None), ("partially_delivered", Some("30006"))], "failed -"),
];

#[tokio::test]
async fn the_first_error_code_is_kept_for_every_order_of_callbacks() {
    let database = Database::create().await;
    let db = database.db();
    let fresh = async || {
        let all =
            "truncate sms_conversations, sms_message_sids, sms_callbacks, sms_message_status_events cascade";
        database.client.batch_execute(all).await.unwrap();
    };
    for (reported, expected) in ERROR_CODE_CASES {
        let callbacks: Vec<_> = reported.iter().map(|(status, code)| failure("SM1", status, *code)).collect();
        for size in [1, callbacks.len()] {
            fresh().await;
            accepted(&database).await;
            for batch in callbacks.chunks(size) {
                record(&db, batch, now()).await.unwrap();
            }
            assert_eq!(
                database.scalar(STATUS_AND_CODE).await,
                *expected,
                "{reported:?} in batches of {size}"
            );
        }
        // Some or all arrive before the SID is known.
        for early in 1..=callbacks.len() {
            fresh().await;
            record(&db, &callbacks[..early], now()).await.unwrap();
            accepted(&database).await;
            statuses::join_orphans(&db, Some(&"SM1".parse().unwrap()), &RenewalPolicy::default(), now())
                .await
                .unwrap();
            record(&db, &callbacks[early..], now()).await.unwrap();
            assert_eq!(
                database.scalar(STATUS_AND_CODE).await,
                *expected,
                "{reported:?}, {early} of them before the SID was known"
            );
        }
    }
}

#[tokio::test]
async fn an_early_callback_adds_its_error_code_to_a_failure_without_one() {
    let database = Database::create().await;
    let db = database.db();
    let claim = claimed(&db, new_send("+18605550100")).await;
    record(&db, &[failure("SM1", "failed", Some("30007"))], now()).await.unwrap();
    let named = NewStatus { message_id: Some(claim.message_id), ..failure("SM1", "failed", None) };
    record(&db, &[named], now()).await.unwrap();
    statuses::join_orphans(&db, Some(&"SM1".parse().unwrap()), &RenewalPolicy::default(), now())
        .await
        .unwrap();
    assert_eq!(database.scalar(STATUS_AND_CODE).await, "failed 30007");
}

#[tokio::test]
async fn a_late_temporary_error_code_is_stored_and_does_not_reopen_a_final_failure() {
    let database = Database::create().await;
    let db = database.db();
    accepted(&database).await;
    record(&db, &[failure("SM1", "undelivered", None)], now()).await.unwrap();
    let recorded = record(&db, &[failure("SM1", "undelivered", Some("30003"))], now()).await.unwrap();
    assert_eq!(recorded[0].renewed_at, None);
    assert_eq!(database.scalar(STATUS_AND_CODE).await, "undelivered 30003");

    // In one batch, the failure was never final.
    let database = Database::create().await;
    accepted(&database).await;
    let both = [failure("SM1", "undelivered", None), failure("SM1", "undelivered", Some("30003"))];
    record(&database.db(), &both, now()).await.unwrap();
    assert_eq!(database.scalar(STATUS_AND_CODE).await, "pending 30003");
}

#[tokio::test]
async fn an_error_code_of_an_earlier_attempt_does_not_apply_to_the_next() {
    let database = Database::create().await;
    let db = database.db();
    accepted(&database).await;
    record(&db, &[failure("SM1", "undelivered", Some("30003"))], now()).await.unwrap();
    let id: MessageId = database.scalar("select id from sms_messages").await.parse().unwrap();
    let later = now() + std::time::Duration::from_secs(8_000);
    let claim = claims_of(&db, &[id], later).await.claimed.remove(0);
    // The callback arrives before the create response.
    let early = NewStatus { message_id: Some(id), ..failure("SM2", "undelivered", Some("30005")) };
    record(&db, &[early], later).await.unwrap();
    let outcome = SendResult::Accepted { twilio_sid: "SM2".parse().unwrap(), status: Status::Queued };
    sends::finish(&db, &[(&claim, &outcome)], later).await.unwrap();
    assert_eq!(database.scalar(STATUS_AND_CODE).await, "undelivered 30005");
    record(&db, &[failure("SM1", "undelivered", Some("30006"))], later).await.unwrap();
    assert_eq!(database.scalar(STATUS_AND_CODE).await, "undelivered 30005");
}
