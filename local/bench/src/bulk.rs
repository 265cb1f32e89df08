//! Sends ten thousand bulk messages and some replies with the whole stack.
//!
//! The Twilio simulator sends at the rate of a real sender and rejects messages when its queue is full. It rejects all
//! create calls until all bulk messages are accepted, so that the backlog does not depend on the speed of the API.

use crate::stack::{DEADLINE, Stack, loop_until};
use crate::statistics::{median, percentile};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The rate of a sender with a high 10DLC trust score. With an ordinary one the run would take half an hour.
const SEGMENTS_PER_SECOND: u32 = 100;
/// The length of Twilio's queue. Three seconds instead of the real ten hours, so that sending too fast is noticed.
const QUEUE_SEGMENTS: u32 = 300;
/// How long a sender is held after a configuration error, in seconds.
const HOLD_SECONDS: &str = "3";
/// The number of concurrent API callers.
const CALLERS: usize = 8;
/// The interval between replies during the bulk.
const REPLY_EVERY: Duration = Duration::from_secs(2);

/// Prints the results of the bulk messages and the replies.
pub fn measure(binaries: &Path, template: &Path, messages: usize) {
    if !binaries.join("send-outbound").exists() {
        println!("bulk send-outbound not built");
        return;
    }
    crate::stack::run(run(binaries, template, messages));
}

impl Stack {
    async fn send(&self, to: &str, body: &str, priority: &str) {
        let message = json!({ "to": to, "body": body, "priority": priority });
        let key = self.info.api_key.as_ref().unwrap();
        let url = format!("{}/sms/send", self.info.api_url);
        // The gateway throttles requests.
        let response = loop_until("the gateway accepts the request", async || {
            let post = self.client.post(&url).bearer_auth(key).json(&message);
            Some(post.send().await.unwrap()).filter(|response| response.status() != 429)
        })
        .await;
        assert_eq!(response.status(), 202, "{}", response.text().await.unwrap());
    }

    /// Returns the messages that a handset, or all handsets, have received.
    async fn received(&self, handset: Option<&str>) -> Vec<Value> {
        let query = handset.map(|handset| format!("?to={handset}")).unwrap_or_default();
        let url = format!("{}/simulator/ledger{query}", self.info.twilio_api_url);
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Returns the number of create calls without the configuration error.
    async fn creates(&self) -> usize {
        let url = format!("{}/simulator/creates", self.info.twilio_api_url);
        let creates: Vec<Value> = self.client.get(url).send().await.unwrap().json().await.unwrap();
        creates.iter().filter(|create| create["fault"].is_null()).count()
    }

    /// Makes Twilio reject the sender's number.
    async fn break_configuration(&self) {
        let fault = json!({ "match": {}, "count": 0, "fault": { "kind": "error", "code": 21606 } });
        let post = self.client.post(format!("{}/simulator/faults", self.info.twilio_api_url));
        assert_eq!(post.json(&fault).send().await.unwrap().status(), 201);
    }

    /// Makes Twilio accept the sender's number again.
    async fn fix_configuration(&self) {
        let delete = self.client.delete(format!("{}/simulator/faults", self.info.twilio_api_url));
        assert!(delete.send().await.unwrap().status().is_success());
    }

    /// Sends a reply and returns the milliseconds until the handset received it.
    async fn reply(&self, number: usize, priority: &str) -> f64 {
        let (handset, begun) = (format!("+1203444{number:04}"), Instant::now());
        self.send(&handset, "The plumber is on the way.", priority).await;
        loop_until("the handset has received the reply", async || {
            (!self.received(Some(&handset)).await.is_empty()).then_some(())
        })
        .await;
        begun.elapsed().as_secs_f64() * 1_000.0
    }
}

async fn run(binaries: &Path, template: &Path, messages: usize) {
    let rate = SEGMENTS_PER_SECOND.to_string();
    let stack = Stack::start(
        binaries,
        template,
        &[
            ("SENDER_SEGMENTS_PER_SECOND", &rate),
            ("SENDER_HOLD_SECONDS", HOLD_SECONDS),
            ("SMS_TWILIO_SEGMENTS_PER_SECOND", &rate),
            ("SMS_TWILIO_QUEUE_SEGMENTS", &QUEUE_SEGMENTS.to_string()),
        ],
    )
    .await;
    let sql = stack.database().await;
    let count = async |sql_text: &str| -> i64 { sql.query_one(sql_text, &[]).await.unwrap().get(0) };
    stack.break_configuration().await;
    let accepted_in = accept(&stack, messages).await;
    let waiting = count("select count(*) from sms_messages where delivery_status = 'pending'").await;
    stack.fix_configuration().await;

    let (fixed, is_sent) = (Instant::now(), AtomicBool::new(false));
    let send = async {
        let sent = "select count(*) from sms_messages where priority = 'bulk' and twilio_sid is not null";
        while count(sent).await < messages as i64 {
            assert!(fixed.elapsed() < DEADLINE, "timed out waiting until the bulk is sent");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        is_sent.store(true, Ordering::Relaxed);
        fixed.elapsed().as_secs_f64()
    };
    let (sent_in, (urgent, normal)) = tokio::join!(send, reply_meanwhile(&stack, &is_sent));
    let copies = copies(&stack, messages + urgent.len() + normal.len()).await;
    println!(
        "bulk messages={messages} accepted_seconds={accepted_in:.1} waiting={waiting} \
         segments_per_second={SEGMENTS_PER_SECOND} twilio_queue_segments={QUEUE_SEGMENTS} \
         handed_over_seconds={sent_in:.1} creates={} refused_21611={} replies={} urgent_p50_ms={:.0} \
         urgent_max_ms={:.0} normal_p50_ms={:.0} normal_max_ms={:.0} \
         receipts={} duplicates={}",
        stack.creates().await,
        count("select count(*) from sms_send_attempts where error_code = '21611'").await,
        urgent.len() + normal.len(),
        median(&urgent),
        percentile(&urgent, 100.0),
        median(&normal),
        percentile(&normal, 100.0),
        copies.values().sum::<usize>(),
        copies.values().filter(|copies| **copies > 1).count(),
    );
}

/// Posts the bulk messages and returns the seconds until all are accepted.
async fn accept(stack: &Stack, messages: usize) -> f64 {
    let (begun, next) = (Instant::now(), AtomicUsize::new(0));
    let callers = (0..CALLERS).map(async |_| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= messages {
                break;
            }
            let to = format!("+1203{:07}", 5_550_000 + number);
            stack.send(&to, &format!("Notice {number}"), "bulk").await;
        }
    });
    futures::future::join_all(callers).await;
    begun.elapsed().as_secs_f64()
}

/// Sends replies until the bulk is sent. Returns the times of urgent and of normal replies.
async fn reply_meanwhile(stack: &Stack, is_sent: &AtomicBool) -> (Vec<f64>, Vec<f64>) {
    let (mut urgent, mut normal) = (Vec::new(), Vec::new());
    // Nothing is sent until the sender's hold has ended.
    loop_until("the bulk has started", async || (stack.creates().await > 1).then_some(())).await;
    while !is_sent.load(Ordering::Relaxed) || normal.is_empty() {
        let number = urgent.len() + normal.len();
        if number.is_multiple_of(2) {
            urgent.push(stack.reply(number, "urgent").await);
        } else {
            normal.push(stack.reply(number, "normal").await);
        }
        tokio::time::sleep(REPLY_EVERY).await;
    }
    (urgent, normal)
}

/// Waits until handsets have received this number of different messages. Returns the number of copies of each.
async fn copies(stack: &Stack, texts: usize) -> HashMap<(String, String), usize> {
    loop_until("all messages are received", async || {
        let mut copies: HashMap<(String, String), usize> = HashMap::new();
        for received in stack.received(None).await {
            let of = |key: &str| received[key].as_str().unwrap_or_default().to_owned();
            *copies.entry((of("handset"), of("body"))).or_default() += 1;
        }
        (copies.len() >= texts).then_some(copies)
    })
    .await
}
