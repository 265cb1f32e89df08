//! What a simulator is started with.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of one [`Simulator`](super::Simulator): an account, its numbers and where their webhooks are.
#[derive(Clone)]
pub struct SimulatorConfig {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The account, `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// The account's auth tokens. All of them are accepted, the first one signs.
    pub auth_tokens: Vec<String>,
    /// API keys that are accepted beside the account's tokens.
    pub api_keys: Vec<ApiKey>,
    /// Twilio's *test credentials*: they validate, know the magic senders, store nothing and call nobody.
    pub test_credentials: Option<ApiKey>,
    /// The account's numbers.
    pub numbers: Vec<PhoneNumber>,
    /// The account's Messaging Services.
    pub messaging_services: Vec<MessagingService>,
    /// How long a message takes from one status to the next.
    pub delays: Delays,
    /// How fast each number sends, and how much waits for it; none lets everything out at once.
    pub sender_queue: Option<SenderQueue>,
    /// Whether Smart Encoding is on when the simulator starts.
    pub smart_encoding: bool,
    /// Whether inbound webhooks carry `OptOutType`, as with Twilio's Advanced Opt-Out.
    pub advanced_opt_out: bool,
    /// Makes identifiers repeatable. Leave it out when they outlive the simulator, in a database for example.
    pub seed: Option<u64>,
    /// A file that keeps messages, ledger and opt-outs from one run to the next.
    pub journal: Option<PathBuf>,
}

impl SimulatorConfig {
    /// An account with one auth token and nothing else, on a free port.
    pub fn new(account_sid: impl Into<String>, auth_token: impl Into<String>) -> Self {
        Self {
            port: 0,
            account_sid: account_sid.into(),
            auth_tokens: vec![auth_token.into()],
            api_keys: Vec::new(),
            test_credentials: None,
            numbers: Vec::new(),
            messaging_services: Vec::new(),
            delays: Delays::default(),
            sender_queue: None,
            smart_encoding: false,
            advanced_opt_out: false,
            seed: None,
            journal: None,
        }
    }

    /// Adds a number whose texts go to `webhook_url`.
    #[must_use]
    pub fn with_number(mut self, number: impl Into<String>, webhook_url: impl Into<String>) -> Self {
        self.numbers.push(PhoneNumber {
            number: number.into(),
            webhook_url: Some(webhook_url.into()),
            fallback_url: None,
        });
        self
    }

    /// Adds a Messaging Service; without numbers of its own it uses all of the account's.
    #[must_use]
    pub fn with_messaging_service(mut self, sid: impl Into<String>, numbers: Vec<String>) -> Self {
        self.messaging_services.push(MessagingService { sid: sid.into(), numbers });
        self
    }

    pub(super) fn number(&self, number: &str) -> Option<&PhoneNumber> {
        self.numbers.iter().find(|own| own.number == number)
    }

    pub(super) fn service(&self, sid: &str) -> Option<&MessagingService> {
        self.messaging_services.iter().find(|service| service.sid == sid)
    }

    /// The service that `number` sends for, if any.
    pub(super) fn service_of(&self, number: &str) -> Option<&MessagingService> {
        self.messaging_services
            .iter()
            .find(|service| service.numbers.is_empty() || service.numbers.iter().any(|own| own == number))
    }

    /// The numbers that a service may send from.
    pub(super) fn senders(&self, service: &MessagingService) -> Vec<String> {
        if service.numbers.is_empty() {
            self.numbers.iter().map(|own| own.number.clone()).collect()
        } else {
            service.numbers.clone()
        }
    }
}

/// A user name and a password for the API: an API key's SID and secret.
#[derive(Clone)]
pub struct ApiKey {
    /// The user name, such as `SK…`.
    pub sid: String,
    /// The password.
    pub secret: String,
}

/// One of the account's numbers.
#[derive(Debug, Clone)]
pub struct PhoneNumber {
    /// The number in E.164, or a short code.
    pub number: String,
    /// Where its incoming texts are posted; connection overrides (`#rc=5&rp=all`) are understood.
    pub webhook_url: Option<String>,
    /// Where they are posted when that fails.
    pub fallback_url: Option<String>,
}

/// A Messaging Service: a pool of senders.
#[derive(Debug, Clone)]
pub struct MessagingService {
    /// `MG` and 32 hexadecimal digits.
    pub sid: String,
    /// The pool; empty means all of the account's numbers.
    pub numbers: Vec<String>,
}

/// The queue that Twilio keeps for each sender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SenderQueue {
    /// How many segments leave it in a second.
    pub segments_per_second: f64,
    /// How many segments it holds; a message that does not fit is refused with 21611.
    pub segments: f64,
}

impl SenderQueue {
    /// A queue as long as Twilio's: ten hours at this rate.
    #[must_use]
    pub fn with_rate(segments_per_second: f64) -> Self {
        Self { segments_per_second, segments: segments_per_second * super::pace::DEFAULT_QUEUE_SECONDS }
    }
}

/// How long a message stays in each status.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Delays {
    /// From `accepted` to `queued`, for a Messaging Service.
    pub queued: Duration,
    /// From `queued` to `sent` or `failed`.
    pub sent: Duration,
    /// From `sent` to `delivered` or `undelivered`.
    pub delivered: Duration,
}

impl Default for Delays {
    /// Short enough to watch, long enough to see: 100 ms, 300 ms and 900 ms.
    fn default() -> Self {
        Self {
            queued: Duration::from_millis(100),
            sent: Duration::from_millis(300),
            delivered: Duration::from_millis(900),
        }
    }
}
