//! Traffic until the last rotation is over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::client::{SMS_PATH, STATUS_PATH, fresh_handset, fresh_sid, request, send_request};
use crate::oracle::AcceptedSend;
use crate::stack::{DEADLINE, Stack, eventually};

/// The number of concurrent API clients.
const SENDERS: usize = 4;
/// The number of concurrent tenants.
const WRITERS: usize = 4;
/// The pause of each of them after a message.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause of the attacker after each webhook.
const FORGER_PAUSE: Duration = Duration::from_millis(100);

/// API clients, tenants, and an attacker.
#[derive(Default)]
pub struct Load {
    over: AtomicBool,
    /// Whether the attacker pauses.
    is_calm: AtomicBool,
    seconds: OnceLock<f64>,
    pub sends: Mutex<Vec<AcceptedSend>>,
    /// API requests that were repeated because their response was not 202.
    repeated: AtomicUsize,
    texts: AtomicUsize,
    /// Webhooks with wrong signatures.
    pub forgeries: AtomicUsize,
    pub forgeries_accepted: AtomicUsize,
    /// The longest time for the response to one of them, in milliseconds.
    slowest_forgery: AtomicUsize,
    /// The longest time for the response to an API request, in milliseconds.
    slowest_send: AtomicUsize,
}

impl Load {
    /// Runs until [`Load::stop`].
    pub async fn run(&self, stack: &Stack) {
        let begun = Instant::now();
        let senders = join_all((0..SENDERS).map(|_| self.send(stack)));
        let writers = join_all((0..WRITERS).map(|_| self.write(stack)));
        tokio::join!(senders, writers, self.forge(stack, SMS_PATH), self.forge(stack, STATUS_PATH));
        let _ = self.seconds.set(begun.elapsed().as_secs_f64());
    }

    pub fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Stops or continues the attack.
    pub fn set_calm(&self, is_calm: bool) {
        self.is_calm.store(is_calm, Ordering::Relaxed);
    }

    /// Waits until this many sends have been accepted.
    pub async fn has_sent(&self, count: usize) {
        eventually("messages are sent", async || (self.sends.lock().unwrap().len() >= count).then_some(()))
            .await;
    }

    pub fn seconds(&self) -> f64 {
        *self.seconds.get().unwrap()
    }

    pub fn figures(&self) -> String {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        format!(
            "texts={} sends_repeated_by_clients={} slowest_send_ms={} forgeries={} slowest_forgery_ms={}",
            of(&self.texts),
            of(&self.repeated),
            of(&self.slowest_send),
            of(&self.forgeries),
            of(&self.slowest_forgery)
        )
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Sends messages. Repeats a request with its idempotency key until it is accepted, as a client should.
    async fn send(&self, stack: &Stack) {
        while self.goes_on() {
            let (to, key) = (fresh_handset(), fresh_sid());
            let body = format!("Your rent is due. {}", fresh_sid());
            let begun = Instant::now();
            loop {
                let post = stack.api_request("POST", "/sms/send").header("idempotency-key", &key);
                let asked = Instant::now();
                let response = send_request(post.json(&json!({ "to": to, "body": body }))).await;
                note(&self.slowest_send, asked.elapsed());
                if response.status == 202 {
                    let id = response.json()["id"].as_str().unwrap().to_owned();
                    self.sends.lock().unwrap().push(AcceptedSend { id, to, body });
                    break;
                }
                assert!(matches!(response.status, 429 | 500..), "{response:?}");
                assert!(begun.elapsed() < DEADLINE, "{response:?}");
                self.repeated.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends texts from handsets. Twilio's webhooks are signed by the simulator.
    async fn write(&self, stack: &Stack) {
        let handset = fresh_handset();
        let url = format!("{}/simulator/handsets/{handset}/messages", stack.info.twilio_api_url);
        while self.goes_on() {
            let count = self.texts.fetch_add(1, Ordering::Relaxed);
            let body = json!({ "body": format!("The heating is off again ({count})") });
            let response = send_request(request("POST", &url).json(&body)).await;
            assert_eq!(response.status, 200, "{response:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Posts webhooks with wrong signatures.
    async fn forge(&self, stack: &Stack, path: &str) {
        let url = format!("{}{path}", stack.info.webhook_base_url);
        while self.goes_on() {
            tokio::time::sleep(FORGER_PAUSE).await;
            if self.is_calm.load(Ordering::Relaxed) {
                continue;
            }
            let form = format!("MessageSid={}&From=%2B12025550199&Body=forged", fresh_sid());
            let post = request("POST", &url)
                .header("content-type", "application/x-www-form-urlencoded")
                .header("x-twilio-signature", "Zm9yZ2VkIHNpZ25hdHVyZSBvZiAyMCBi");
            let asked = Instant::now();
            let response = send_request(post.body(form)).await;
            note(&self.slowest_forgery, asked.elapsed());
            self.forgeries.fetch_add(1, Ordering::Relaxed);
            self.forgeries_accepted.fetch_add(usize::from(response.status != 403), Ordering::Relaxed);
        }
    }
}

/// Keeps the longest time.
fn note(slowest: &AtomicUsize, took: Duration) {
    slowest.fetch_max(usize::try_from(took.as_millis()).unwrap(), Ordering::Relaxed);
}
