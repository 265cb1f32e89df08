//! Configuration of a simulator.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The default length of Twilio's queues: ten hours of the sender's rate.
const DEFAULT_QUEUE_SECONDS: f64 = 36_000.0;

/// Configuration of one simulated account: credentials, phone numbers, webhooks and timing.
#[derive(Clone)]
pub struct SimulatorConfig {
    /// The address to listen on. The control API has no password, so keep it on the loopback interface.
    pub host: IpAddr,
    /// The port to listen on; 0 selects a free port.
    pub port: u16,
    /// The Account SID: `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// The Auth Tokens. All are accepted; the first one signs webhooks.
    pub auth_tokens: Vec<String>,
    /// API keys, accepted in addition to the Auth Tokens.
    pub api_keys: Vec<ApiKey>,
    /// Test credentials. Requests with them are validated, but no message is stored and no webhook is called.
    pub test_credentials: Option<ApiKey>,
    /// The account's phone numbers.
    pub numbers: Vec<PhoneNumber>,
    /// The account's messaging services.
    pub messaging_services: Vec<MessagingService>,
    /// The time between two statuses of a message.
    pub delays: Delays,
    /// Rate and queue length of each phone number; `None` sends everything immediately.
    pub sender_queue: Option<SenderQueue>,
    /// Whether Smart Encoding is enabled at start.
    pub smart_encoding: bool,
    /// Whether inbound webhooks carry `OptOutType`, as with Twilio's Advanced Opt-Out.
    pub advanced_opt_out: bool,
    /// Makes identifiers repeatable. Do not set it if SIDs are stored elsewhere, for example in a database: they would
    /// repeat after a restart.
    pub seed: Option<u64>,
    /// A file that keeps messages, received texts and opt-outs across restarts.
    pub journal: Option<PathBuf>,
}

impl SimulatorConfig {
    /// Creates an account with one Auth Token and no phone numbers, on a free port.
    pub fn new(account_sid: impl Into<String>, auth_token: impl Into<String>) -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
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

    /// Adds a phone number with an inbound webhook.
    #[must_use]
    pub fn with_number(mut self, number: impl Into<String>, webhook_url: impl Into<String>) -> Self {
        self.numbers.push(PhoneNumber {
            number: number.into(),
            webhook_url: Some(webhook_url.into()),
            fallback_url: None,
        });
        self
    }

    /// Adds a messaging service. With an empty `numbers` its sender pool is all phone numbers of the account.
    #[must_use]
    pub fn with_messaging_service(mut self, sid: impl Into<String>, numbers: Vec<String>) -> Self {
        self.messaging_services.push(MessagingService { sid: sid.into(), numbers });
        self
    }

    pub(crate) fn number(&self, number: &str) -> Option<&PhoneNumber> {
        self.numbers.iter().find(|own| own.number == number)
    }

    pub(crate) fn service(&self, sid: &str) -> Option<&MessagingService> {
        self.messaging_services.iter().find(|service| service.sid == sid)
    }

    /// Returns the messaging service that has `number` in its sender pool.
    pub(crate) fn service_of(&self, number: &str) -> Option<&MessagingService> {
        self.messaging_services
            .iter()
            .find(|service| service.numbers.is_empty() || service.numbers.iter().any(|own| own == number))
    }

    /// Returns what a STOP to `number` covers: its Messaging Service, otherwise the number.
    pub(crate) fn opt_out_scope<'a>(&'a self, number: &'a str) -> &'a str {
        self.service_of(number).map_or(number, |service| &service.sid)
    }

    /// Returns the sender pool of a messaging service.
    pub(crate) fn senders(&self, service: &MessagingService) -> Vec<String> {
        if service.numbers.is_empty() {
            self.numbers.iter().map(|own| own.number.clone()).collect()
        } else {
            service.numbers.clone()
        }
    }
}

/// The credentials that the REST API accepts. They can be replaced while the simulator runs, as in a rotation.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// As [`SimulatorConfig::auth_tokens`].
    pub(crate) auth_tokens: Vec<String>,
    /// As [`SimulatorConfig::api_keys`].
    #[serde(default)]
    pub(crate) api_keys: Vec<ApiKey>,
}

impl Credentials {
    pub(crate) fn of(config: &SimulatorConfig) -> Self {
        Self { auth_tokens: config.auth_tokens.clone(), api_keys: config.api_keys.clone() }
    }

    /// Returns the Auth Token that signs webhooks.
    pub(crate) fn signing_token(&self) -> &str {
        self.auth_tokens.first().map_or("", String::as_str)
    }
}

/// An API key: user name and password for the REST API.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The SID of the key, `SK…`: the user name.
    pub sid: String,
    /// The secret: the password.
    pub secret: String,
}

/// A phone number of the account.
#[derive(Debug, Clone)]
pub struct PhoneNumber {
    /// The phone number in E.164, or a short code.
    pub number: String,
    /// The URL for inbound messages. Connection overrides (`#rc=5&rp=all`) are supported.
    pub webhook_url: Option<String>,
    /// The URL to use when `webhook_url` fails.
    pub fallback_url: Option<String>,
}

/// A messaging service.
#[derive(Debug, Clone)]
pub struct MessagingService {
    /// `MG` and 32 hexadecimal digits.
    pub sid: String,
    /// The sender pool; empty means all phone numbers of the account.
    pub numbers: Vec<String>,
}

/// The message queue of each sender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SenderQueue {
    /// Message segments sent per second.
    pub segments_per_second: f64,
    /// Capacity in segments. A message that does not fit is rejected with error 21611.
    pub segments: f64,
}

impl SenderQueue {
    /// Returns a queue with Twilio's default capacity: ten hours at this rate.
    #[must_use]
    pub fn with_rate(segments_per_second: f64) -> Self {
        Self { segments_per_second, segments: segments_per_second * DEFAULT_QUEUE_SECONDS }
    }
}

/// The time between two statuses of a message.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Delays {
    /// From `accepted` to `queued`, for a messaging service.
    pub queued: Duration,
    /// From `queued` to `sent` or `failed`.
    pub sent: Duration,
    /// From `sent` to `delivered` or `undelivered`.
    pub delivered: Duration,
}

impl Default for Delays {
    /// Returns 100 ms, 300 ms and 900 ms.
    fn default() -> Self {
        Self {
            queued: Duration::from_millis(100),
            sent: Duration::from_millis(300),
            delivered: Duration::from_millis(900),
        }
    }
}
