//! Runs the binary through the Runtime API with a real Postgres.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod traces;

use common::clock;
use common::db::sends::{self, Created, NewSend, SendResult};
use common::domain::ids::MessageId;
use common::domain::message::Status;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Sqs, environment, eventually, failed};
use uuid::Uuid;

const BINARY: &str = env!("CARGO_BIN_EXE_record-status");

/// Our id of the message in the recorded event.
const RECORDED_ID: Uuid = Uuid::from_u128(0x019a_3f2e_8c00_7000_8000_0000_0000_0001);

fn recorded() -> Value {
    serde_json::from_str(include_str!("../../events/batch.json")).unwrap()
}

/// Returns an SQS event with forms and the queries of their URLs.
fn batch(callbacks: &[(&str, String)]) -> Value {
    let mut event = recorded();
    let template = event["Records"][0].clone();
    let records = callbacks.iter().enumerate().map(|(position, (form, query))| {
        let mut record = template.clone();
        let body =
            json!({"version": "1", "received_at": "2026-11-01T12:00:00Z", "form": form, "query": query});
        record["messageId"] = format!("m-{position}").into();
        record["receiptHandle"] = format!("AQEB{position}").into();
        record["body"] = body.to_string().into();
        record
    });
    event["Records"] = records.collect();
    event
}

/// Returns an SQS event with callbacks whose URLs have no id.
fn forms(forms: &[&str]) -> Value {
    batch(&forms.iter().map(|form| (*form, String::new())).collect::<Vec<_>>())
}

/// The URL of an unreachable queue, for tests that need none.
const NO_QUEUE: &str = "http://127.0.0.1:1/000000000000/status";

async fn start(database: &Database) -> Function {
    start_with(&[("DATABASE_URL", &database.url())]).await
}

async fn start_with(variables: &[(&str, &str)]) -> Function {
    let mut all = vec![("STATUS_QUEUE_URL", NO_QUEUE)];
    all.extend(variables);
    Function::start(BINARY, &all).await
}

/// Invokes the function with a batch that must succeed.
async fn record(function: &mut Function, event: Value) {
    let response = function.call(event).await;
    assert!(failed(&response).is_empty(), "{response}");
}

/// Stores a pending message.
async fn pending(database: &Database, id: MessageId) {
    let send = NewSend { id, ..testing::new_send("+12025550143") };
    let created = sends::create(&database.db(), &send, None).await.unwrap();
    assert!(matches!(created, Created::Stored { .. }), "{created:?}");
}

/// Stores a message that Twilio accepted with the given SID.
async fn accepted(database: &Database, sid: &str) -> MessageId {
    let id = clock::new_id().into();
    pending(database, id).await;
    let claim = {
        let (asked, pace) = (sends::ClaimRequest::messages(&[id]), sends::SendPace::default());
        sends::claim(&database.db(), &asked, &pace, clock::now()).await.unwrap().claimed.remove(0)
    };
    let outcome = SendResult::Accepted { twilio_sid: sid.parse().unwrap(), status: Status::Queued };
    sends::finish(&database.db(), &[(&claim, &outcome)], clock::now()).await.unwrap();
    id
}

/// Returns the SID, status and error code of all messages.
async fn messages(database: &Database) -> String {
    let all = "select coalesce(string_agg(concat_ws(' ', coalesce(twilio_sid, '-'), delivery_status, error_code), ','
                   order by twilio_sid), '') from sms_messages";
    database.scalar(all).await
}

/// Returns the whole history: SID, status, error code, whether joined to a message, whether flagged.
async fn history(database: &Database) -> String {
    let all = "select coalesce(string_agg(concat_ws(' ', twilio_sid, event_status, error_code,
                   case when message_id is null then 'alone' else 'joined' end,
                   case when contradicts then 'contradicts' end), ','
                   order by twilio_sid, event_status collate \"C\"), '')
               from sms_message_status_events";
    database.scalar(all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_event_is_stored_completely_and_sets_the_sid_of_the_message_in_its_url() {
    let database = Database::create().await;
    pending(&database, RECORDED_ID.into()).await;
    record(&mut start(&database).await, recorded()).await;
    // 30003 is temporary: the message waits for its next attempt. The first attempt keeps the SID.
    assert_eq!(messages(&database).await, "- pending 30003");
    assert_eq!(
        database.scalar("select twilio_sid from sms_send_attempts").await,
        "SM14e831d3e28c4eb08598e1a29c09a9a2"
    );
    let stored = "select concat_ws(' ', message_id, raw_webhook_data->>'RawDlrDoneDate',
                      extract(epoch from created_at)::text) from sms_message_status_events";
    assert_eq!(database.scalar(stored).await, format!("{RECORDED_ID} 2611011200 1793534405.123456"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_moves_each_message_forward_and_a_repeated_batch_has_no_effect() {
    let database = Database::create().await;
    accepted(&database, "SM1").await;
    accepted(&database, "SM2").await;
    let mut function = start(&database).await;
    let event = forms(&[
        "MessageSid=SM1&MessageStatus=delivered",
        "MessageSid=SM1&MessageStatus=sent",
        "MessageSid=SM2&MessageStatus=sent",
        "MessageSid=SM2&MessageStatus=sent",
    ]);
    for _ in 0..2 {
        record(&mut function, event.clone()).await;
        assert_eq!(messages(&database).await, "SM1 delivered,SM2 sent");
        assert_eq!(history(&database).await, "SM1 delivered joined,SM1 sent joined,SM2 sent joined");
    }
    let log = eventually("the second invocation's metrics", async || {
        let log = function.log().await;
        (log.iter().filter(|line| line.get("duplicates").is_some()).count() == 2).then_some(log)
    })
    .await;
    let metric =
        |name: &str| -> Vec<Value> { log.iter().filter_map(|line| line.get(name).cloned()).collect() };
    assert_eq!(metric("statuses_stored"), [json!(3.0)]);
    assert_eq!(metric("duplicates"), [json!(1.0), json!(4.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delivery_latency_begins_with_the_request_or_the_time_to_send() {
    let database = Database::create().await;
    let requested = accepted(&database, "SM1").await;
    let scheduled = accepted(&database, "SM2").await;
    accepted(&database, "SM3").await;
    // The callbacks were received at 12:00.
    let times = format!(
        "update sms_messages set created_at = '2026-11-01T11:00:00Z';
         update sms_messages set created_at = '2026-11-01T11:59:58.5Z' where id = '{requested}';
         update sms_messages set send_at = '2026-11-01T11:59:00Z' where id = '{scheduled}'"
    );
    database.client.batch_execute(&times).await.unwrap();
    let mut function = start(&database).await;
    let event = forms(&[
        "MessageSid=SM1&MessageStatus=sent",
        "MessageSid=SM1&MessageStatus=delivered",
        "MessageSid=SM2&MessageStatus=delivered",
        "MessageSid=SM3&MessageStatus=undelivered&ErrorCode=30005",
        "MessageSid=SM9&MessageStatus=delivered",
    ]);
    record(&mut function, event.clone()).await;
    assert_eq!(function.metric("delivery_latency").await, json!([1.5, 60.0]));
    record(&mut function, event).await;
    let lines = eventually("the second invocation's metrics", async || {
        Some(function.log().await).filter(|log| log.iter().any(|line| line["duplicates"] == 5.0))
    })
    .await;
    let latencies = lines.iter().filter(|line| line.get("delivery_latency").is_some()).count();
    assert_eq!(latencies, 1, "duplicates do not count: {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_functions_record_the_same_batch_once() {
    let database = Database::create().await;
    let mut sids: Vec<String> = (0..10).map(|number| format!("SM{number}")).collect();
    for sid in &sids {
        accepted(&database, sid).await;
    }
    let event = |sids: &[String]| {
        let texts: Vec<String> =
            sids.iter().map(|sid| format!("MessageSid={sid}&MessageStatus=delivered")).collect();
        forms(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let forwards = event(&sids);
    sids.reverse();
    let (mut one, mut other) = (start(&database).await, start(&database).await);
    tokio::join!(record(&mut one, forwards), record(&mut other, event(&sids)));
    assert_eq!(database.scalar("select count(*) from sms_message_status_events").await, "10");
    assert_eq!(
        database.scalar("select count(*) from sms_messages where delivery_status = 'delivered'").await,
        "10"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_fails_alone_and_becomes_visible_immediately() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    accepted(&database, "SM1").await;
    let (url, queue) = (database.url(), sqs.queue("status"));
    let variables =
        [("DATABASE_URL", &*url), ("STATUS_QUEUE_URL", &queue), ("AWS_ENDPOINT_URL_SQS", sqs.url())];
    let mut function = start_with(&variables).await;
    // A status that is too long for an index: Postgres rejects the row, and so the statement of the batch.
    let huge: String = (0..4_000).map(|_| clock::new_id().simple().to_string()).collect();
    let huge = format!("MessageSid=SM2&MessageStatus={huge}");
    let mut event = forms(&[
        "MessageSid=SM1&MessageStatus=sent",
        &huge,
        "MessageStatus=sent",
        "MessageSid=SM3&MessageStatus=sent",
    ]);
    event["Records"]
        .as_array_mut()
        .unwrap()
        .push(json!({"messageId": "not-ours", "receiptHandle": "AQEB4", "body": "{}"}));
    let response = function.call(event).await;
    let mut failures = failed(&response);
    failures.sort_unstable();
    assert_eq!(failures, ["m-1", "m-2", "not-ours"]);
    let mut again = sqs.made_visible();
    again.sort();
    assert_eq!(again, ["status AQEB1", "status AQEB2", "status AQEB4"]);
    assert_eq!(history(&database).await, "SM1 sent joined,SM3 sent alone");
    assert_eq!(messages(&database).await, "SM1 sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_characters_are_removed_and_flagged() {
    let database = Database::create().await;
    record(&mut start(&database).await, forms(&["MessageSid=SM1&MessageStatus=se%00nt&X%00Y=1%00"])).await;
    let stored = "select concat_ws(' ', event_status, raw_webhook_data->>'XY', nul_removed) \
        from sms_message_status_events";
    assert_eq!(database.scalar(stored).await, "sent 1 t");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_statuses_are_stored_verbatim_and_change_no_message() {
    let database = Database::create().await;
    accepted(&database, "SM1").await;
    let event = forms(&[
        "MessageSid=SM1&MessageStatus=partially_delivered",
        "MessageSid=SM1&MessageStatus=Teleported",
        "MessageSid=SM1",
    ]);
    record(&mut start(&database).await, event).await;
    assert_eq!(messages(&database).await, "SM1 queued");
    assert_eq!(history(&database).await, "SM1  joined,SM1 Teleported joined,SM1 partially_delivered joined");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sid_takes_precedence_over_a_different_id_and_the_conflict_is_logged() {
    let database = Database::create().await;
    accepted(&database, "SM1").await;
    let other: MessageId = clock::new_id().into();
    pending(&database, other).await;
    let mut function = start(&database).await;
    record(
        &mut function,
        batch(&[("MessageSid=SM1&MessageStatus=delivered", format!("message_id={other}"))]),
    )
    .await;
    assert_eq!(messages(&database).await, "SM1 delivered,- pending");
    let warning = eventually("the warning", async || {
        function.log().await.into_iter().find(|line| line["claimed"] == other.to_string())
    })
    .await;
    assert_eq!((&warning["level"], &warning["twilio_sid"]), (&json!("WARN"), &json!("SM1")));
    assert_eq!(warning["request_id"], "req-42");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_is_ignored_and_the_callback_is_stored() {
    let database = Database::create().await;
    let stranger = format!("message_id={}", clock::new_id());
    let event = batch(&[
        ("MessageSid=SM1&MessageStatus=sent", stranger),
        ("MessageSid=SM2&MessageStatus=sent", "message_id=42".to_owned()),
    ]);
    record(&mut start(&database).await, event).await;
    assert_eq!(history(&database).await, "SM1 sent alone,SM2 sent alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_final_status_is_flagged_and_changes_nothing() {
    let database = Database::create().await;
    accepted(&database, "SM1").await;
    let mut function = start(&database).await;
    record(&mut function, forms(&["MessageSid=SM1&MessageStatus=delivered"])).await;
    record(&mut function, forms(&["MessageSid=SM1&MessageStatus=failed&ErrorCode=30008"])).await;
    assert_eq!(messages(&database).await, "SM1 delivered");
    assert_eq!(history(&database).await, "SM1 delivered joined,SM1 failed 30008 joined contradicts");
    record(&mut function, forms(&["MessageSid=SM1&MessageStatus=read"])).await;
    assert_eq!(messages(&database).await, "SM1 read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_failure_is_created_again_after_the_configured_delay() {
    let database = Database::create().await;
    accepted(&database, "SM1").await;
    let url = database.url();
    let mut function =
        start_with(&[("DATABASE_URL", &url), ("TRANSIENT_RETRY_DELAYS_SECONDS", "3600")]).await;
    record(&mut function, forms(&["MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30003"])).await;
    assert_eq!(messages(&database).await, "- pending 30003");
    let wait = "select next_attempt_at - now() between interval '50 minutes' and interval '60 minutes' \
        from sms_messages";
    assert_eq!(database.scalar(wait).await, "t");
    let line = eventually("the log line", async || {
        function
            .log()
            .await
            .into_iter()
            .find(|line| line["message"] == "undelivered message scheduled for retry")
    })
    .await;
    assert_eq!(line["twilio_sid"], "SM1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_failure_caused_by_our_configuration_raises_the_alarm_once() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    accepted(&database, "SM1").await;
    accepted(&database, "SM2").await;
    let ours = "MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30034";
    record(&mut function, forms(&["MessageSid=SM1&MessageStatus=sent", ours])).await;
    record(&mut function, forms(&[ours, "MessageSid=SM2&MessageStatus=undelivered&ErrorCode=30005"])).await;
    assert_eq!(messages(&database).await, "SM1 undelivered 30034,SM2 undelivered 30005");
    // The metrics are in the last log line.
    record(&mut function, forms(&["MessageSid=SM2&MessageStatus=sent"])).await;
    let log = eventually("three batches are counted", async || {
        let log = function.log().await;
        let counted = log.iter().filter(|line| line.get("statuses_stored").is_some()).count();
        (counted == 3).then_some(log)
    })
    .await;
    let alarms: Vec<&Value> = log.iter().filter_map(|line| line.get("sends_misconfigured")).collect();
    assert_eq!(alarms, [&json!(1.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_reported_by_twilio_is_recorded_once() {
    let database = Database::create().await;
    accepted(&database, "SM1").await;
    let mut function = start(&database).await;
    let event = forms(&["MessageSid=SM1&MessageStatus=undelivered&ErrorCode=21610"]);
    record(&mut function, event.clone()).await;
    record(&mut function, event).await;
    assert_eq!(database.scalar("select string_agg(evidence, ',') from sms_opt_out_events").await, "SM1");
    assert_eq!(database.scalar("select opted_out_at from sms_conversations").await, "2026-11-01 12:00:00+00");
    assert_eq!(messages(&database).await, "SM1 undelivered 21610");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_in_after_the_refused_create_is_newer_than_its_late_callback() {
    let database = Database::create().await;
    accepted(&database, "SM1").await;
    let opt_in = "update sms_send_attempts set started_at = '2026-11-01T10:00:00Z';
        insert into sms_opt_out_events (id, conversation_id, action, source, evidence, created_at)
        select gen_random_uuid(), id, 'opt_in', 'keyword', 'SM2', '2026-11-01T11:00:00Z' from sms_conversations";
    database.client.batch_execute(opt_in).await.unwrap();
    let mut function = start(&database).await;
    record(&mut function, forms(&["MessageSid=SM1&MessageStatus=undelivered&ErrorCode=21610"])).await;
    assert_eq!(messages(&database).await, "SM1 undelivered 21610");
    assert_eq!(database.scalar("select opted_out_at is null from sms_conversations").await, "t");
    let ledger = "select extract(hour from created_at)::int from sms_opt_out_events where action = 'opt_out'";
    assert_eq!(database.scalar(ledger).await, "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_unavailable_every_record_fails_and_none_is_lost() {
    let database = Database::create().await;
    accepted(&database, "SM1").await;
    let mut function = start(&database).await;
    let event = forms(&["MessageSid=SM1&MessageStatus=sent", "MessageSid=SM2&MessageStatus=sent"]);
    database.client.batch_execute("alter table sms_message_status_events rename to hidden").await.unwrap();
    assert_eq!(failed(&function.call(event.clone()).await), ["m-0", "m-1"]);
    assert_eq!(messages(&database).await, "SM1 queued");
    database.client.batch_execute("alter table hidden rename to sms_message_status_events").await.unwrap();
    record(&mut function, event).await;
    assert_eq!(messages(&database).await, "SM1 sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_succeeds_while_postgres_is_unavailable_and_the_records_fail() {
    let mut function = start_with(&[("DATABASE_URL", "postgres://u@127.0.0.1:1/x")]).await;
    assert_eq!(failed(&function.call(forms(&["MessageSid=SM1&MessageStatus=sent"])).await), ["m-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_timed_out_has_no_effect_later() {
    let database = Database::create().await;
    accepted(&database, "SM1").await;
    let url = database.url();
    let mut hasty = start_with(&[("DATABASE_URL", &url), ("DATABASE_STATEMENT_TIMEOUT_MS", "300")]).await;
    let event = forms(&["MessageSid=SM1&MessageStatus=sent"]);
    let lock = "begin; lock table sms_message_status_events in access exclusive mode";
    database.client.batch_execute(lock).await.unwrap();
    assert_eq!(failed(&hasty.call(event.clone()).await), ["m-0"]);
    let waiting = "select count(*) from pg_stat_activity, pg_stat_clear_snapshot()
                   where datname = current_database() and wait_event_type = 'Lock'";
    eventually("the end of the statement", async || (database.scalar(waiting).await == "0").then_some(()))
        .await;
    database.client.batch_execute("commit").await.unwrap();
    assert_eq!(history(&database).await, "");
    record(&mut start(&database).await, event).await;
    assert_eq!(messages(&database).await, "SM1 sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_while_the_function_was_frozen_fails_no_record() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    record(&mut function, forms(&["MessageSid=SM1&MessageStatus=sent"])).await;
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()";
    database.scalar(cut).await;
    record(&mut function, forms(&["MessageSid=SM2&MessageStatus=sent"])).await;
    assert_eq!(history(&database).await, "SM1 sent alone,SM2 sent alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_contains_no_phone_number() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    record(&mut function, recorded()).await;
    record(&mut function, recorded()).await;
    let log = eventually("the second invocation's metrics", async || {
        let log = function.log().await;
        log.iter().any(|line| line.get("duplicates").is_some()).then_some(log)
    })
    .await;
    for line in log.iter().map(Value::to_string) {
        assert!(!line.contains("5550143") && !line.contains("5550006"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let mut function = Function::start(BINARY, &[("DATABASE_CONNECT_TIMEOUT_MS", "soon")]).await;
    let log = function.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for problem in ["DATABASE_URL is missing", "DATABASE_CONNECT_TIMEOUT_MS is invalid"] {
        assert!(error.contains(problem), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_is_retried_and_an_inbound_message_goes_to_the_dead_letter_queue() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let (url, queue) = (database.url(), sqs.queue("status"));
    let variables =
        [("DATABASE_URL", &*url), ("STATUS_QUEUE_URL", &queue), ("AWS_ENDPOINT_URL_SQS", sqs.url())];
    let mut function = start_with(&variables).await;
    let mut event = forms(&["MessageSid=SM1&SmsStatus=received&Body=STOP&From=%2B18605550101"]);
    let newer = json!({"version": "2", "payload": {"MessageSid": "SM2"}}).to_string();
    let newer = json!({"messageId": "newer", "receiptHandle": "AQEB9", "body": newer});
    event["Records"].as_array_mut().unwrap().push(newer);
    let response = function.call(event).await;
    let mut failures = failed(&response);
    failures.sort_unstable();
    assert_eq!(failures, ["m-0", "newer"]);
    assert_eq!(sqs.made_visible(), ["status AQEB0"]);
    assert_eq!(database.scalar("select count(*) from sms_message_status_events").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_callbacks_send_one_hint_about_their_events() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let (url, queue) = (database.url(), sqs.queue("events"));
    let variables =
        [("DATABASE_URL", &*url), ("EVENTS_QUEUE_URL", &queue), ("AWS_ENDPOINT_URL_SQS", sqs.url())];
    let mut function = start_with(&variables).await;
    accepted(&database, "SM1").await;
    let event = forms(&["MessageSid=SM1&MessageStatus=sent", "MessageSid=SM1&MessageStatus=delivered"]);
    for _ in 0..2 {
        record(&mut function, event.clone()).await;
    }
    let sent: Vec<_> = sqs.sent().into_iter().map(|sent| (sent.queue_url, sent.body)).collect();
    assert_eq!(sent, [(queue, json!({"version": "1"}))], "none for duplicates");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // Makes poison messages visible again.
    environment::check::<record_status::Config>(
        "record-status",
        Duration::ZERO,
        &[environment::CONNECT, environment::STATEMENT, ("SQS_SEND_BUDGET_MS", 1)],
    );
}
