//! The sender killed before its call and after it. That it is killed while Twilio has the request is in `worker_killed`.

use serde_json::json;

use crate::client::{Sql, fresh_handset};
use crate::oracle::{self, PATIENCE, QUIET};
use crate::stack::{Setup, Stack, eventually};

/// Attempts can be read and not written while this is held.
const LOCK_ATTEMPTS: &str = "lock table sms_send_attempts in share mode";
/// Whoever waits for that.
const WAITING: &str = "select l.pid from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where l.relation = 'sms_send_attempts'::regclass and not l.granted";
/// From now on outcomes can be recorded only while nobody holds `LOCK_OUTCOMES`.
const GUARD_OUTCOMES: &str =
    "create function wait_for_the_test() returns trigger language plpgsql as $$ begin
        perform pg_advisory_xact_lock_shared(20201125, 1);
        return new;
    end $$;
    create trigger wait_for_the_test before update of outcome on sms_send_attempts
        for each row execute function wait_for_the_test()";
const LOCK_OUTCOMES: &str = "select pg_advisory_xact_lock(20201125, 1)";
/// Whoever waits to record an outcome.
const RECORDING: &str =
    "select pid from pg_locks where locktype = 'advisory' and classid = 20201125 and not granted";

async fn start() -> Stack {
    Setup::impatient()
        .with("SEND_CLAIM_TIMEOUT_SECONDS", "2")
        // What waits for a lock of the test's is to wait until the test goes on.
        .with("DATABASE_STATEMENT_TIMEOUT_MS", "40000")
        .start()
        .await
}

async fn attempts(sql: &Sql, id: &str) -> i64 {
    sql.count("select count(*) from sms_send_attempts where message_id = $1::text::uuid", &[&id]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_killed_between_its_claim_and_its_call_leaves_an_unknown_that_no_handset_got() {
    let stack = start().await;
    let handset = fresh_handset();
    let (mut holder, sql) = (stack.sql().await, stack.sql().await);
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute(LOCK_ATTEMPTS).await.unwrap();
    let intent = stack.intend(&handset, "Claimed by a dead function").await;
    // The sweep waits, too, to end claims that were abandoned.
    let claims = format!("select count(*) from ({WAITING} and a.query not like '%abandoned%') t");
    sql.reaches(&claims, &[], 1).await;
    stack.kill("send-outbound").await;
    // Postgres ends the statement that it was told to run, and commits: nobody is there to make the call.
    lock.rollback().await.unwrap();
    stack.reaches(&intent.id, "unknown").await;
    assert_eq!((attempts(&sql, &intent.id).await, stack.creates(&handset).await), (1, 0));
    oracle::quiet(&stack, PATIENCE).await;
    let figures = oracle::judge(&stack, &[intent], QUIET).await;
    assert_eq!((figures.unknown, figures.receipts), (1, 0), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_killed_between_the_answer_and_its_record_is_found_out_by_the_callback_or_in_twilios_list() {
    let stack = start().await;
    let (told, silent) = (fresh_handset(), fresh_handset());
    stack.arm(json!({ "match": { "to": silent }, "fault": { "kind": "callbacks", "mode": "lost" } })).await;
    let (mut holder, sql) = (stack.sql().await, stack.sql().await);
    sql.client.batch_execute(GUARD_OUTCOMES).await.unwrap();
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute(LOCK_OUTCOMES).await.unwrap();
    let intents =
        [stack.intend(&told, "Told by its callback").await, stack.intend(&silent, "Told by nobody").await];
    for intent in &intents {
        eventually("the answer has come", async || {
            let log = stack.log("send-outbound");
            let took = |line: &serde_json::Value| {
                line.to_string().contains(&intent.id) && line.to_string().contains("Twilio took the message")
            };
            log.iter().any(took).then_some(())
        })
        .await;
    }
    stack.kill("send-outbound").await;
    // What it told Postgres last must not happen either.
    let terminate = format!("select count(pg_terminate_backend(pid)) from ({RECORDING}) t");
    eventually("what it left is ended", async || (sql.count(&terminate, &[]).await > 0).then_some(())).await;
    lock.rollback().await.unwrap();

    stack.reaches(&intents[0].id, "delivered").await;
    stack.becomes(&intents[1].id, "found", |message| message["twilio_sid"].is_string()).await;
    oracle::quiet(&stack, PATIENCE).await;
    let figures = oracle::judge(&stack, &intents, QUIET).await;
    assert_eq!((figures.receipts, figures.creates), (2, 2), "{figures}");
}
