//! A run with random failures, checked by the oracle afterwards.
//!
//! `SMS_CHAOS_SEED` repeats the plan of a run. `SMS_CHAOS_MESSAGES` is the number of messages. `SMS_CHAOS_RUNS` is the
//! number of runs, each with the next seed. `make chaos` runs a longer version.

mod bulk;
mod failures;
mod plan;
mod random;

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use self::failures::{Failures, InjectedFailures};
use self::plan::{Plan, PlannedInbound, PlannedSend};
use self::random::Random;
use crate::client::{request, try_send_request};
use crate::oracle::{self, AcceptedSend};
use crate::services::{Database, Queues};
use crate::stack::{Setup, Stack};
use crate::subscriber::{Answer, Receiver, check_ledgers};

/// The default number of messages, for the run that is part of every test run.
const MESSAGES: usize = 250;
/// The number of concurrent API clients.
const SENDERS: usize = 8;
/// The number of concurrent tenants.
const WRITERS: usize = 4;
/// A client's timeout per request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a client retries.
const CLIENT_DEADLINE: Duration = Duration::from_secs(300);
/// How long the stack may take to settle after the last failure: abandoned claims time out, and unknown outcomes are
/// looked up twice.
const SETTLE_DEADLINE: Duration = Duration::from_secs(480);

#[tokio::test(flavor = "multi_thread")]
async fn with_random_failures_no_message_is_lost_duplicated_or_sent_after_a_stop() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let messages = number("SMS_CHAOS_MESSAGES").map_or(MESSAGES, |count| usize::try_from(count).unwrap());
    let first = number("SMS_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    for seed in first..first + number("SMS_CHAOS_RUNS").unwrap_or(1) {
        run(seed, messages).await;
    }
}

/// Prints how to repeat a run, at its start and if it fails.
struct Reporter {
    seed: u64,
    messages: usize,
}

impl Reporter {
    fn print(&self, what: &str) {
        let Self { seed, messages } = self;
        // Written directly to stderr, because the test harness captures `println` until the test ends.
        let _ =
            writeln!(std::io::stderr(), "chaos SMS_CHAOS_SEED={seed} SMS_CHAOS_MESSAGES={messages} {what}");
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print("FAILED");
        }
    }
}

async fn run(seed: u64, messages: usize) {
    let reporter = Reporter { seed, messages };
    reporter.print("begins");
    let begun = Instant::now();
    let (mut database, mut queues) = (Database::start().await, Queues::start().await);
    let stack = setup(&database, &queues).start().await;
    let receivers = subscribe_all(&stack, seed).await;
    let plan = Plan::new(seed, messages);
    let traffic = Traffic::default();
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
        tokio::join!(traffic.send_all(&stack, &plan.sends), traffic.post_all(&stack, &plan.inbound));
        over.store(true, Ordering::Relaxed);
    };
    let (injected, ()) = tokio::join!(inject, work);
    let busy = begun.elapsed();
    oracle::wait_until_resolved(&stack, SETTLE_DEADLINE).await;
    let sends = traffic.sends.into_inner().unwrap();
    let figures =
        oracle::check(&stack, &sends, oracle::Expectations::after_failures(injected.ungated.clone())).await;
    let refused = traffic.refused.into_inner();
    let events = stack.events().await;
    let deliveries = check_ledgers(&receivers, &events).await;
    let events = events.len();
    reporter.print(&format!(
        "{figures} refused={refused} events={events} deliveries={deliveries} {injected} busy_seconds={} seconds={}",
        busy.as_secs(),
        begun.elapsed().as_secs()
    ));
    assert_eq!((sends.len() + refused, figures.unknown), (messages, 0));
}

/// Registers a receiver that accepts everything and one that often fails. Events wait longer than any failure, so both
/// must get each conversation in order.
async fn subscribe_all(stack: &Stack, seed: u64) -> [Receiver; 2] {
    let random = Mutex::new(Random::new(seed ^ 0xe7e7));
    let unreliable = Receiver::with(move |_, _| {
        let mut random = random.lock().unwrap();
        if random.chance(70) {
            return Answer::Accept;
        }
        let slow = Answer::AcceptAfter(random.up_to(Duration::from_millis(1_500)));
        *random.pick(&[Answer::Status(500), Answer::Status(503), Answer::RetryAfter(1), Answer::Hang, slow])
    });
    let receivers = [Receiver::start().await, unreliable.await];
    for receiver in &receivers {
        stack.subscribe(receiver, &json!({ "max_hold_seconds": 3_600 })).await;
    }
    receivers
}

/// Uses intervals of seconds instead of minutes. The sender's timeout is ten seconds; its claim lasts a little longer.
fn setup(database: &Database, queues: &Queues) -> Setup {
    Setup::as_deployed()
        .edited("VisibilityTimeout: 30", "VisibilityTimeout: 5")
        .edited("VisibilityTimeout: 60", "VisibilityTimeout: 5")
        .edited("ReauthorizeEvery: 60", "ReauthorizeEvery: 3600")
        .edited("maxReceiveCount: 10", "maxReceiveCount: 1000")
        .edited("Timeout: 50", "Timeout: 10")
        .with("DATABASE_URL", &database.url())
        .with("AWS_ENDPOINT_URL_SQS", &queues.url())
        .with("SMS_SCHEDULE_SECONDS", "2")
        .with("SEND_CLAIM_TIMEOUT_SECONDS", "12")
        .with("SEND_RETRY_DELAYS_SECONDS", "1,2")
        .with("TRANSIENT_RETRY_DELAYS_SECONDS", "1,2")
        .with("TWILIO_TIMEOUT_MS", "1500")
        // Faster than the simulator's number with its short queue, so that the queue is sometimes full.
        .with("SENDER_SEGMENTS_PER_SECOND", "100")
        .with("SENDER_BURST_SEGMENTS", "50")
        .with("SENDER_HOLD_SECONDS", "2")
        .with("SMS_TWILIO_SEGMENTS_PER_SECOND", "50")
        .with("SMS_TWILIO_QUEUE_SEGMENTS", "20")
        .with("SMS_TWILIO_SMART_ENCODING", "on")
        // The simulator's delays are at most four seconds.
        .with("UNKNOWN_RESOLVE_AFTER_SECONDS", "6")
        .with("RECONCILE_GRACE_SECONDS", "5")
        .with("EVENTS_RETRY_DELAYS_SECONDS", &["1"; 100].join(","))
        .with("EVENTS_ATTEMPT_TIMEOUT_MS", "2000")
        .with("EVENTS_PAUSE_SECONDS", "1")
        .with("EVENTS_MAX_PAUSE_SECONDS", "2")
        .with("EVENTS_SLOW_SECONDS", "5")
        .with("EVENTS_HINT_SECONDS", "2")
}

/// The API clients and tenants.
#[derive(Default)]
struct Traffic {
    next_send: AtomicUsize,
    next_inbound: AtomicUsize,
    sends: Mutex<Vec<AcceptedSend>>,
    /// The number of sends to handsets that had opted out.
    refused: AtomicUsize,
}

impl Traffic {
    async fn send_all(&self, stack: &Stack, sends: &[PlannedSend]) {
        let senders = (0..SENDERS).map(async |_| {
            while let Some(send) = sends.get(self.next_send.fetch_add(1, Ordering::Relaxed)) {
                tokio::time::sleep(send.pause).await;
                self.send(stack, send).await;
            }
        });
        join_all(senders).await;
    }

    /// Retries with one idempotency key until there is a response, as a client should.
    async fn send(&self, stack: &Stack, send: &PlannedSend) {
        let key = format!("chaos {}", send.body.split(':').next().unwrap_or_default());
        let payload = json!({
            "to": send.to, "body": send.body, "priority": send.priority, "smart_encoding": send.smart_encoding,
        });
        if let Some(fault) = &send.fault {
            call_simulator(201, || {
                request("POST", &format!("{}/simulator/faults", stack.info.twilio_api_url)).json(fault)
            })
            .await;
        }
        let begun = Instant::now();
        loop {
            let post = stack.api_request("POST", "/sms/send").header("idempotency-key", &key).json(&payload);
            match try_send_request(post.timeout(REQUEST_TIMEOUT)).await {
                Ok(response) if response.status == 202 => {
                    let id = response.json()["id"].as_str().unwrap().to_owned();
                    let send = AcceptedSend { id, to: send.to.clone(), body: send.body.clone() };
                    return self.sends.lock().unwrap().push(send);
                }
                Ok(response) if response.status == 409 => {
                    assert_eq!(response.code(), "sms.recipient_opted_out", "{response:?}");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(response) => assert!(matches!(response.status, 429 | 500..), "{response:?}"),
                Err(_) => {}
            }
            assert!(begun.elapsed() < CLIENT_DEADLINE, "{send:?} was not accepted in time");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn post_all(&self, stack: &Stack, inbound: &[PlannedInbound]) {
        let writers = (0..WRITERS).map(async |_| {
            while let Some(message) = inbound.get(self.next_inbound.fetch_add(1, Ordering::Relaxed)) {
                tokio::time::sleep(message.pause).await;
                let url =
                    format!("{}/simulator/handsets/{}/messages", stack.info.twilio_api_url, message.from);
                // The oracle reads from Twilio's list whether the webhook was accepted.
                let payload = json!({ "body": message.body, "repeat": message.copies });
                call_simulator(200, || request("POST", &url).json(&payload)).await;
            }
        });
        join_all(writers).await;
    }
}

/// Calls the simulator's control API. Retries while its port is closed.
async fn call_simulator(status: u16, build: impl Fn() -> reqwest::RequestBuilder) {
    let begun = Instant::now();
    loop {
        match try_send_request(build()).await {
            Ok(response) => return assert_eq!(response.status, status, "{response:?}"),
            Err(error) => assert!(begun.elapsed() < CLIENT_DEADLINE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
