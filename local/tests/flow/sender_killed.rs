//! `send-outbound` is killed before or after its create call. `worker_killed` kills it during the call.

use serde_json::json;

use crate::client::{Sql, fresh_handset};
use crate::oracle::{self, DEADLINE, IDLE};
use crate::stack::{Setup, Stack, eventually};

/// Blocks writes of attempts while the lock is held.
const LOCK_ATTEMPTS: &str = "lock table sms_send_attempts in share mode";
/// Selects the sessions that wait for the lock.
const WAITING: &str = "select l.pid from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where l.relation = 'sms_send_attempts'::regclass and not l.granted";
/// Blocks the recording of outcomes while `LOCK_OUTCOMES` is held.
const GUARD_OUTCOMES: &str =
    "create function wait_for_the_test() returns trigger language plpgsql as $$ begin
        perform pg_advisory_xact_lock_shared(20201125, 1);
        return new;
    end $$;
    create trigger wait_for_the_test before update of outcome on sms_send_attempts
        for each row execute function wait_for_the_test()";
const LOCK_OUTCOMES: &str = "select pg_advisory_xact_lock(20201125, 1)";
/// Selects the sessions that wait to record an outcome.
const RECORDING: &str =
    "select pid from pg_locks where locktype = 'advisory' and classid = 20201125 and not granted";

async fn start() -> Stack {
    Setup::fast()
        .with("SEND_CLAIM_TIMEOUT_SECONDS", "2")
        // Statements that wait for the test's lock must not time out.
        .with("DATABASE_STATEMENT_TIMEOUT_MS", "40000")
        .start()
        .await
}

async fn attempts(sql: &Sql, id: &str) -> i64 {
    sql.count("select count(*) from sms_send_attempts where message_id = $1::text::uuid", &[&id]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_is_unknown_if_the_sender_is_killed_between_claim_and_call() {
    let stack = start().await;
    let handset = fresh_handset();
    let (mut holder, sql) = (stack.sql().await, stack.sql().await);
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute(LOCK_ATTEMPTS).await.unwrap();
    let send = stack.send_unique(&handset, "Claimed by a killed function").await;
    // The sweep also waits for the lock, to release abandoned claims.
    let claims = format!("select count(*) from ({WAITING} and a.query not like '%abandoned%') t");
    sql.wait_for_count(&claims, &[], 1).await;
    stack.kill("send-outbound").await;
    // Postgres completes and commits the claim, but no process makes the call.
    lock.rollback().await.unwrap();
    stack.wait_for_status(&send.id, "unknown").await;
    assert_eq!((attempts(&sql, &send.id).await, stack.count_creates(&handset).await), (1, 0));
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let figures = oracle::check(&stack, &[send], IDLE).await;
    assert_eq!((figures.unknown, figures.receipts), (1, 0), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_is_settled_if_the_sender_is_killed_before_it_records_the_response() {
    let stack = start().await;
    let (with_callback, without_callback) = (fresh_handset(), fresh_handset());
    stack
        .set_fault(
            json!({ "match": { "to": without_callback }, "fault": { "kind": "callbacks", "mode": "lost" } }),
        )
        .await;
    let (mut holder, sql) = (stack.sql().await, stack.sql().await);
    sql.client.batch_execute(GUARD_OUTCOMES).await.unwrap();
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute(LOCK_OUTCOMES).await.unwrap();
    let sends = [
        stack.send_unique(&with_callback, "With a callback").await,
        stack.send_unique(&without_callback, "Without").await,
    ];
    for send in &sends {
        eventually("the response has arrived", async || {
            let log = stack.log("send-outbound");
            let is_accepted = |line: &serde_json::Value| {
                line.to_string().contains(&send.id) && line.to_string().contains("message accepted by Twilio")
            };
            log.iter().any(is_accepted).then_some(())
        })
        .await;
    }
    stack.kill("send-outbound").await;
    // Its last statement must not take effect either.
    let terminate = format!("select count(pg_terminate_backend(pid)) from ({RECORDING}) t");
    eventually("the statement is canceled", async || (sql.count(&terminate, &[]).await > 0).then_some(()))
        .await;
    lock.rollback().await.unwrap();

    stack.wait_for_status(&sends[0].id, "delivered").await;
    stack
        .wait_for_message(&sends[1].id, "is found at Twilio", |message| message["twilio_sid"].is_string())
        .await;
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let figures = oracle::check(&stack, &sends, IDLE).await;
    assert_eq!((figures.receipts, figures.creates), (2, 2), "{figures}");
}
