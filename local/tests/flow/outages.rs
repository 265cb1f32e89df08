//! SQS away, Postgres away, both away: what was answered with 200 is stored once afterwards, and the rest was refused.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::client::{INBOUND_OF, exchange, fresh_handset, fresh_sid};
use crate::door::{Database, Queues};
use crate::stack::{Setup, Stack, eventually};

const SPOOLED: &str = "select count(*) from webhook_spool";

/// A stack whose queues may go away: the spool behind them is given time to be reached on a busy machine.
fn without_sqs(queues: &Queues) -> Setup {
    Setup::impatient().with("AWS_ENDPOINT_URL_SQS", &queues.url()).with("DATABASE_CONNECT_TIMEOUT_MS", "5000")
}

/// Texts from `handset`, all of which must be accepted.
async fn texts_are_accepted(stack: &Stack, handset: &str, count: usize) {
    let webhooks: Vec<_> =
        (0..count).map(|n| stack.incoming(handset, &fresh_sid(), &format!("text {n}"))).collect();
    join_all(webhooks.iter().map(|webhook| stack.accepts(webhook))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_sqs_is_away_webhooks_are_spooled_and_sends_wait_and_then_all_of_it_happens_once() {
    let mut queues = Queues::start().await;
    let stack = without_sqs(&queues).start().await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    texts_are_accepted(&stack, &handset, 1).await;
    let sql = stack.sql().await;
    sql.reaches(INBOUND_OF, &[&handset], 1).await;

    queues.go_down().await;
    texts_are_accepted(&stack, &handset, 20).await;
    let callback = stack.callback(&fresh_sid(), "sent", None);
    stack.accepts(&callback).await;
    assert_eq!(sql.count(SPOOLED, &[]).await, 21);
    let id = stack.send(&recipient, "Sent while the queue is away").await;
    stack.sweeps(1).await;
    assert_eq!(sql.count(SPOOLED, &[]).await, 21, "a sweep that can't empty the spool keeps it");
    assert_eq!(stack.ledger(&recipient).await.len(), 0);

    queues.come_back().await;
    sql.reaches(INBOUND_OF, &[&handset], 21).await;
    sql.reaches(SPOOLED, &[], 0).await;
    stack.reaches(&id, "delivered").await;
    stack.queues_are_empty().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 21);
    assert_eq!(stack.conversation(&handset).await.unwrap()["total"], 21);
    let orphans = "select count(*) from sms_message_status_events where message_id is null";
    assert_eq!(sql.count(orphans, &[]).await, 1, "the callback waits for a message that is not ours");
    assert_eq!(stack.ledger(&recipient).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_sqs_takes_after_all_is_stored_once_beside_its_copy_in_the_spool() {
    let queues = Queues::start().await;
    let stack = without_sqs(&queues).start().await;
    let handset = fresh_handset();
    texts_are_accepted(&stack, &handset, 1).await;
    stack.conversation_where(&handset, |page| page["total"] == 1).await;
    queues.stall(true);
    texts_are_accepted(&stack, &handset, 5).await;
    let sql = stack.sql().await;
    assert_eq!(sql.count(SPOOLED, &[]).await, 5);
    queues.stall(false);
    sql.reaches(INBOUND_OF, &[&handset], 6).await;
    sql.reaches(SPOOLED, &[], 0).await;
    stack.queues_are_empty().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 6);
    assert_eq!(stack.conversation(&handset).await.unwrap()["total"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_without_its_queues_gets_them_again() {
    let mut queues = Queues::start().await;
    let stack = without_sqs(&queues).start().await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    queues.go_down().await;
    texts_are_accepted(&stack, &handset, 3).await;
    let id = stack.send(&recipient, "Sent while the queues are lost").await;
    queues.come_back_empty(stack.info.queues.values()).await;
    stack.conversation_where(&handset, |page| page["total"] == 3).await;
    stack.reaches(&id, "delivered").await;
    texts_are_accepted(&stack, &handset, 1).await;
    stack.conversation_where(&handset, |page| page["total"] == 4).await;
    stack.queues_are_empty().await;
    assert_eq!(stack.queued().await.len(), 0);
    assert_eq!(stack.ledger(&recipient).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_while_postgres_was_silent_is_not_sent_later() {
    let database = Database::start().await;
    let stack = Setup::impatient()
        .edited("ReauthorizeEvery: 2", "ReauthorizeEvery: 3600")
        .edited("maxReceiveCount: 10", "maxReceiveCount: 1000")
        .with("DATABASE_URL", &database.url())
        // A silent Postgres may only be slow: sends wait for it as long as they may.
        .with("DATABASE_BUDGET_MS", "1500")
        // There is no spool behind a queue that is slow on a busy machine.
        .with("SQS_SEND_BUDGET_MS", "8000")
        .start()
        .await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    let id = stack.send(&recipient, "Before").await;
    stack.reaches(&id, "delivered").await;

    database.stall(true);
    texts_are_accepted(&stack, &handset, 5).await;
    refuses_to_send(&stack, &recipient).await;
    assert!(!stack.queued().await.contains_key("OutboundQueue"), "a send that was refused is on no queue");
    database.stall(false);
    stack.conversation_where(&handset, |page| page["total"] == 5).await;
    stack.sweeps(2).await;
    stack.queues_are_empty().await;
    let sql = stack.sql().await;
    let sends = "select count(*) from sms_messages where direction = 'outbound' and to_number = $1";
    assert_eq!(sql.count(sends, &[&recipient]).await, 1, "what was refused is not sent later");
    assert_eq!(stack.ledger(&recipient).await.len(), 1);
}

/// Asks until it is refused in time: a busy machine may hold one answer up.
async fn refuses_to_send(stack: &Stack, recipient: &str) {
    let body = json!({ "to": recipient, "body": "Sent while Postgres is away" });
    eventually("a refusal in time", async || {
        let begun = Instant::now();
        let answer = exchange(stack.call("POST", "/sms/send").json(&body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "sms.unavailable"), "{answer:?}");
        (begun.elapsed() < Duration::from_secs(2)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_webhooks_are_kept_and_sends_are_refused_at_once() {
    let mut database = Database::start().await;
    // Keys must be known for as long as the outage lasts.
    let stack = Setup::impatient()
        .edited("ReauthorizeEvery: 2", "ReauthorizeEvery: 3600")
        .with("DATABASE_URL", &database.url())
        // There is no spool behind a queue that is slow on a busy machine.
        .with("SQS_SEND_BUDGET_MS", "8000")
        .start()
        .await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    texts_are_accepted(&stack, &handset, 1).await;
    stack.conversation_where(&handset, |page| page["total"] == 1).await;
    assert_eq!(stack.try_send("+1", "refused").await.status, 400, "the key is known to the gateway");
    let made = stack.command(&["key", "--scopes", "messages:send"]);
    let unseen = String::from_utf8(made.stdout).unwrap().trim().to_owned();

    database.crash().await;
    // A key that nobody has verified yet: the authorizer can't, and the answer is the same.
    let body = json!({ "to": recipient, "body": "Sent while Postgres is away" });
    let answer = exchange(stack.call_with(&unseen, "POST", "/sms/send").json(&body)).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "sms.unavailable"), "{answer:?}");
    texts_are_accepted(&stack, &handset, 30).await;
    refuses_to_send(&stack, &recipient).await;
    assert!(!stack.queued().await.contains_key("OutboundQueue"), "a send that was refused is on no queue");
    let read = exchange(stack.call("GET", &format!("/conversations/{handset}"))).await;
    assert_eq!((read.status, read.code().as_str()), (503, "sms.unavailable"), "{read:?}");

    database.come_back().await;
    stack.conversation_where(&handset, |page| page["total"] == 31).await;
    stack.queues_are_empty().await;
    let sql = stack.sql().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 31);
    let sends = "select count(*) from sms_messages where direction = 'outbound'";
    assert_eq!(sql.count(sends, &[]).await, 0);
    assert_eq!(stack.ledger(&recipient).await.len(), 0);
    // The gateway still has it that this key could not be verified.
    let key = fresh_sid();
    let call = || stack.call_with(&unseen, "POST", "/sms/send").header("idempotency-key", &key);
    let answer = stack.answer_to(|| call().json(&body)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_both_are_away_webhooks_are_refused_so_that_twilio_comes_again() {
    let (mut queues, mut database) = (Queues::start().await, Database::start().await);
    let stack = Setup::impatient()
        .with("AWS_ENDPOINT_URL_SQS", &queues.url())
        .with("DATABASE_URL", &database.url())
        .start()
        .await;
    let handset = fresh_handset();
    let webhook = stack.incoming(&handset, &fresh_sid(), "Nobody is there");
    let callback = stack.callback(&fresh_sid(), "delivered", None);
    queues.go_down().await;
    database.crash().await;
    for refused in [&webhook, &callback] {
        let answer = stack.post(refused).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "sms.unavailable"), "{answer:?}");
        assert!(answer.request_id.is_some());
        for internal in ["127.0.0.1", "refused", "sqs", "postgres", "error sending"] {
            assert!(
                !answer.text.to_lowercase().contains(internal),
                "{internal} is nobody's business: {answer:?}"
            );
        }
    }
    database.come_back().await;
    queues.come_back().await;
    stack.accepts(&webhook).await;
    stack.conversation_where(&handset, |page| page["total"] == 1).await;
    stack.queues_are_empty().await;
}
