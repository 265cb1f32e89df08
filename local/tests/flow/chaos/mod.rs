//! A run in which anything may go wrong at any time, and the oracle afterwards.
//!
//! `SMS_CHAOS_SEED` repeats a run's plan, `SMS_CHAOS_MESSAGES` says how many messages are sent, `SMS_CHAOS_RUNS` how many runs
//! follow each other, each with the next seed. `make chaos` is the long form.

mod dice;
mod plan;
mod weather;

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use self::dice::Dice;
use self::plan::{Plan, PlannedSend, PlannedText};
use self::weather::{Damage, Weather};
use crate::client::{request, try_exchange};
use crate::door::{Database, Queues};
use crate::oracle::{self, Intent};
use crate::stack::{Setup, Stack};

/// The short form, as part of every test run.
const MESSAGES: usize = 250;
/// How many workflows send at once, and how many tenants write.
const SENDERS: usize = 8;
const WRITERS: usize = 4;
/// How long a client waits for an answer before it asks again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a client goes on asking.
const CLIENT_PATIENCE: Duration = Duration::from_secs(300);
/// How long everything may take to come to rest once all is mended: claims of dead functions run out, what is unknown is
/// looked for twice.
const PATIENCE: Duration = Duration::from_secs(480);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_nothing_is_lost_doubled_or_sent_after_a_stop() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let messages = number("SMS_CHAOS_MESSAGES").map_or(MESSAGES, |count| usize::try_from(count).unwrap());
    let first = number("SMS_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    for seed in first..first + number("SMS_CHAOS_RUNS").unwrap_or(1) {
        run(seed, messages).await;
    }
}

/// Says how to repeat a run, at its start and again if it fails.
struct Repeatable {
    seed: u64,
    messages: usize,
}

impl Repeatable {
    fn say(&self, what: &str) {
        let Self { seed, messages } = self;
        // Past the capture of a test's output: a run that hangs has said it.
        let _ =
            writeln!(std::io::stderr(), "chaos SMS_CHAOS_SEED={seed} SMS_CHAOS_MESSAGES={messages} {what}");
    }
}

impl Drop for Repeatable {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.say("FAILED");
        }
    }
}

async fn run(seed: u64, messages: usize) {
    let repeatable = Repeatable { seed, messages };
    repeatable.say("begins");
    let begun = Instant::now();
    let (mut database, mut queues) = (Database::start().await, Queues::start().await);
    let stack = setup(&database, &queues).start().await;
    let plan = Plan::new(seed, messages);
    let people = People::default();
    let over = AtomicBool::new(false);
    let mut weather = Weather {
        dice: Dice::new(seed ^ 0x5eed),
        stack: &stack,
        database: &mut database,
        queues: &mut queues,
        damage: Damage::default(),
    };
    let storms = async {
        while !over.load(Ordering::Relaxed) {
            weather.turn().await;
        }
        weather.damage.clone()
    };
    let crowd = async {
        tokio::join!(people.send_all(&stack, &plan.sends), people.text_all(&stack, &plan.texts));
        over.store(true, Ordering::Relaxed);
    };
    let (damage, ()) = tokio::join!(storms, crowd);
    let busy = begun.elapsed();
    oracle::resolved(&stack, PATIENCE).await;
    let intents = people.intents.into_inner().unwrap();
    let figures = oracle::judge(&stack, &intents, oracle::Terms::resolved(damage.loose.clone())).await;
    let refused = people.refused.into_inner();
    repeatable.say(&format!(
        "{figures} refused={refused} {damage} busy_seconds={} seconds={}",
        busy.as_secs(),
        begun.elapsed().as_secs()
    ));
    assert_eq!((intents.len() + refused, figures.unknown), (messages, 0));
}

/// Everything that takes minutes takes seconds. A sender is given ten seconds, and its claim a little longer.
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
        .with("SENDER_SEGMENTS_PER_SECOND", "1000")
        .with("SENDER_BURST_SEGMENTS", "1000")
        .with("SENDER_HOLD_SECONDS", "2")
        .with("SEND_CLAIM_TIMEOUT_SECONDS", "12")
        .with("SEND_RETRY_DELAYS_SECONDS", "1,2")
        .with("TRANSIENT_RETRY_DELAYS_SECONDS", "1,2")
        .with("TWILIO_TIMEOUT_MS", "1500")
        // Faster than the simulator's sender, whose queue is short: so it is full at times.
        .with("SENDER_SEGMENTS_PER_SECOND", "100")
        .with("SENDER_BURST_SEGMENTS", "50")
        .with("SENDER_HOLD_SECONDS", "2")
        .with("SMS_TWILIO_SEGMENTS_PER_SECOND", "50")
        .with("SMS_TWILIO_QUEUE_SEGMENTS", "20")
        .with("SMS_TWILIO_SMART_ENCODING", "on")
        // What is late at Twilio is so by three seconds.
        .with("UNKNOWN_RESOLVE_AFTER_SECONDS", "6")
        .with("RECONCILE_GRACE_SECONDS", "5")
}

/// Those who send and those who write.
#[derive(Default)]
struct People {
    next_send: AtomicUsize,
    next_text: AtomicUsize,
    intents: Mutex<Vec<Intent>>,
    /// Sends to handsets that had opted out.
    refused: AtomicUsize,
}

impl People {
    async fn send_all(&self, stack: &Stack, sends: &[PlannedSend]) {
        let senders = (0..SENDERS).map(async |_| {
            while let Some(send) = sends.get(self.next_send.fetch_add(1, Ordering::Relaxed)) {
                tokio::time::sleep(send.pause).await;
                self.send(stack, send).await;
            }
        });
        join_all(senders).await;
    }

    /// Asks with one Idempotency-Key until there is an answer, as a client should.
    async fn send(&self, stack: &Stack, send: &PlannedSend) {
        let key = format!("chaos {}", send.body.split(':').next().unwrap_or_default());
        let payload = json!({
            "to": send.to, "body": send.body, "priority": send.priority, "smart_encoding": send.smart_encoding,
        });
        if let Some(fault) = &send.fault {
            until_answered(201, || {
                request("POST", &format!("{}/simulator/faults", stack.info.twilio_api_url)).json(fault)
            })
            .await;
        }
        let begun = Instant::now();
        loop {
            let ask = stack.call("POST", "/sms/send").header("idempotency-key", &key).json(&payload);
            match try_exchange(ask.timeout(ANSWER_TIMEOUT)).await {
                Ok(answer) if answer.status == 202 => {
                    let id = answer.json()["id"].as_str().unwrap().to_owned();
                    let intent = Intent { id, to: send.to.clone(), body: send.body.clone() };
                    return self.intents.lock().unwrap().push(intent);
                }
                Ok(answer) if answer.status == 409 => {
                    assert_eq!(answer.code(), "sms.recipient_opted_out", "{answer:?}");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(answer) => assert!(matches!(answer.status, 429 | 500..), "{answer:?}"),
                Err(_) => {}
            }
            assert!(begun.elapsed() < CLIENT_PATIENCE, "nobody takes {send:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn text_all(&self, stack: &Stack, texts: &[PlannedText]) {
        let writers = (0..WRITERS).map(async |_| {
            while let Some(text) = texts.get(self.next_text.fetch_add(1, Ordering::Relaxed)) {
                tokio::time::sleep(text.pause).await;
                let url = format!("{}/simulator/handsets/{}/messages", stack.info.twilio_api_url, text.from);
                // Whether its webhook was taken is in Twilio's list.
                let written = json!({ "body": text.body, "repeat": text.copies });
                until_answered(200, || request("POST", &url).json(&written)).await;
            }
        });
        join_all(writers).await;
    }
}

/// Asks the simulator, whose port may be closed at the moment.
async fn until_answered(status: u16, ask: impl Fn() -> reqwest::RequestBuilder) {
    let begun = Instant::now();
    loop {
        match try_exchange(ask()).await {
            Ok(answer) => return assert_eq!(answer.status, status, "{answer:?}"),
            Err(error) => assert!(begun.elapsed() < CLIENT_PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
