//! A bulk with random failures, a pause in the middle and STOPs, checked by the oracle afterwards.
//!
//! `SMS_CHAOS_BULK` is the number of messages, `SMS_CHAOS_SEED` repeats a run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::failures::{Failures, InjectedFailures};
use super::random::Random;
use super::{CLIENT_DEADLINE, REQUEST_TIMEOUT, Reporter, SETTLE_DEADLINE, call_simulator, setup};
use crate::client::{request, try_send_request};
use crate::oracle::{self, AcceptedSend};
use crate::services::{Database, Queues};
use crate::stack::Stack;

/// The default number of messages, for the run that is part of every test run.
const MESSAGES: usize = 200;
/// The number of messages per request.
const PER_REQUEST: usize = 50;
/// How soon a pause must take effect, and how long a call that was in progress may take.
const EFFECT: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_with_failures_a_pause_and_stops_loses_and_repeats_nothing_and_its_counts_add_up() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let messages = number("SMS_CHAOS_BULK").map_or(MESSAGES, |count| usize::try_from(count).unwrap());
    let seed = number("SMS_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let reporter = Reporter { seed, messages };
    reporter.print("bulk begins");
    let begun = Instant::now();
    let (mut database, mut queues) = (Database::start().await, Queues::start().await);
    let stack = setup(&database, &queues).start().await;
    let over = AtomicBool::new(false);
    let mut failures = Failures {
        random: Random::new(seed ^ 0x5eed),
        stack: &stack,
        database: &mut database,
        queues: &mut queues,
        injected: InjectedFailures::default(),
    };
    let inject = async {
        while !over.load(Ordering::Relaxed) {
            failures.inject_next().await;
        }
        failures.injected.clone()
    };
    let work = async {
        let done = send(&stack, seed, messages).await;
        over.store(true, Ordering::Relaxed);
        done
    };
    let (injected, (batch, sends, refused)) = tokio::join!(inject, work);
    oracle::wait_until_resolved(&stack, SETTLE_DEADLINE).await;
    let figures =
        oracle::check(&stack, &sends, oracle::Expectations::after_failures(injected.ungated.clone())).await;
    check_counts(&stack, &batch, sends.len()).await;
    reporter.print(&format!("{figures} refused={refused} {injected} seconds={}", begun.elapsed().as_secs()));
    assert_eq!((sends.len() + refused, figures.unknown), (messages, 0));
}

/// Sends a batch in several requests, with a pause after the first half. Some recipients send STOP meanwhile.
/// Returns the batch, the accepted messages and the number of refused ones.
async fn send(stack: &Stack, seed: u64, messages: usize) -> (String, Vec<AcceptedSend>, usize) {
    let mut random = Random::new(seed);
    let (mut batch, mut sends, mut refused) = (None, Vec::new(), 0);
    let requests = messages.div_ceil(PER_REQUEST);
    for place in 0..requests {
        let first = place * PER_REQUEST;
        let texts: Vec<(String, String)> = (first..messages.min(first + PER_REQUEST))
            .map(|i| (format!("+1312555{i:04}"), format!("bulk {i}: the water is off on May 3")))
            .collect();
        let mut payload = json!({
            "messages": texts.iter().map(|(to, body)| json!({"to": to, "body": body})).collect::<Vec<_>>(),
        });
        if let Some(batch) = &batch {
            payload["batch_id"] = json!(batch);
        }
        let accepted = post(stack, "/sms/bulk", Some(&format!("bulk {place}")), &payload).await;
        batch = accepted["batch_id"].as_str().map(str::to_owned);
        for item in accepted["items"].as_array().unwrap() {
            let (to, body) = texts[usize::try_from(item["index"].as_u64().unwrap()).unwrap()].clone();
            match item["id"].as_str() {
                Some(id) => sends.push(AcceptedSend { id: id.to_owned(), to, body }),
                None => {
                    assert_eq!(item["error"]["code"], "sms.recipient_opted_out", "{item}");
                    refused += 1;
                }
            }
        }
        for _ in 0..2 {
            // Of this request or of a later one.
            let handset = random.below(u64::try_from(messages).unwrap());
            let url =
                format!("{}/simulator/handsets/+1312555{handset:04}/messages", stack.info.twilio_api_url);
            call_simulator(200, || request("POST", &url).json(&json!({ "body": "STOP" }))).await;
        }
        if place == requests / 2 {
            pause(stack, batch.as_ref().unwrap()).await;
        }
    }
    (batch.unwrap(), sends, refused)
}

/// Pauses a batch, checks that nothing is sent, and resumes it. All messages of the stack are of this batch.
async fn pause(stack: &Stack, batch: &str) {
    post(stack, &format!("/sms/bulk/{batch}/pause"), None, &json!({})).await;
    tokio::time::sleep(EFFECT).await;
    let creates = creates(stack).await;
    tokio::time::sleep(EFFECT).await;
    assert_eq!(self::creates(stack).await, creates, "creates during a pause");
    post(stack, &format!("/sms/bulk/{batch}/resume"), None, &json!({})).await;
}

/// Returns the number of create calls. Retries while the simulator is unavailable.
async fn creates(stack: &Stack) -> usize {
    let url = format!("{}/simulator/creates", stack.info.twilio_api_url);
    let begun = Instant::now();
    loop {
        match try_send_request(request("GET", &url)).await {
            Ok(response) => return response.json().as_array().unwrap().len(),
            Err(error) => assert!(begun.elapsed() < CLIENT_DEADLINE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Posts until there is a response, as a client should.
async fn post(stack: &Stack, path: &str, key: Option<&str>, payload: &Value) -> Value {
    let begun = Instant::now();
    loop {
        let mut post = stack.api_request("POST", path).json(payload).timeout(REQUEST_TIMEOUT);
        if let Some(key) = key {
            post = post.header("idempotency-key", key);
        }
        match try_send_request(post).await {
            Ok(response) if response.status < 300 => return response.json(),
            Ok(response) => assert!(matches!(response.status, 429 | 500..), "{response:?}"),
            Err(_) => {}
        }
        assert!(begun.elapsed() < CLIENT_DEADLINE, "{path} was not accepted in time");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Compares the counts of a batch with its messages. Both must be final.
async fn check_counts(stack: &Stack, batch: &str, accepted: usize) {
    let sql = stack.sql().await;
    let differences = "
        select count(*) from (
            select delivery_status as status, count(*)::integer as messages from sms_messages
            where batch_id = $1::text::uuid group by 1
        ) m full join (
            select status, messages from sms_batch_counts where batch_id = $1::text::uuid and messages <> 0
        ) c on c.status = m.status where c.messages is distinct from m.messages";
    assert_eq!(sql.count(differences, &[&batch]).await, 0, "the counts differ from the messages");
    let progress = stack.batch("GET", batch, "").await;
    let by_status = progress["by_status"].as_object().unwrap();
    let sum: u64 = by_status.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(
        (progress["total"].as_u64(), sum),
        (Some(u64::try_from(accepted).unwrap()), sum),
        "{progress}"
    );
    assert_eq!(sum, u64::try_from(accepted).unwrap(), "{progress}");
    let is_complete =
        by_status.keys().all(|status| status != "queued" && status != "sending" && status != "sent");
    assert_eq!(progress["status"] == "completed", is_complete, "{progress}");
    let completions = "select count(*) from sms_events where event_type = 'batch.completed'";
    let announced = sql.count(completions, &[]).await;
    assert!(announced >= i64::from(is_complete), "{announced} events");
}
