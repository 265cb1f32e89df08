//! What the function is told by its environment.

use common::config::{Configuration, Env};
use common::db::DatabaseConfig;
use common::domain::phone::{E164, Region};
use common::domain::smart_encoding::SmartEncoding;
use common::queue::PublisherConfig;
use std::time::Duration;

/// What the function is told by its environment: `TWILIO_ACCOUNT_SID`; `TWILIO_PHONE_NUMBER` (a list) and/or
/// `TWILIO_MESSAGING_SERVICE_SID`; `OUTBOUND_QUEUE_URL`; `DEFAULT_REGION` (US), by which numbers without a country code
/// are read; `SMART_ENCODING` (none), for requests that don't say; what [`PublisherConfig`] and [`DatabaseConfig`]
/// read; and `DATABASE_BUDGET_MS` (25 000), all the time that Postgres may take in one request: API Gateway waits 30 s. One
/// that refuses connections is not waited for: callers are told within two seconds.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) account_sid: String,
    pub(crate) senders: Senders,
    pub(crate) region: Region,
    pub(crate) smart_encoding: SmartEncoding,
    pub(crate) queue_url: String,
    pub(crate) publisher: PublisherConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) database_budget: Duration,
}

/// What messages may be sent from: our numbers, and a messaging service that chooses among its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Senders {
    /// In E.164, or short codes.
    pub(crate) numbers: Vec<String>,
    /// `MG…`; it sends what names no sender, since it knows which number a handset last heard from.
    pub(crate) messaging_service_sid: Option<String>,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.text("TWILIO_ACCOUNT_SID");
        let senders = senders(env);
        let region = env.parse_or("DEFAULT_REGION", Region::US);
        let smart_encoding = env.parse_or("SMART_ENCODING", SmartEncoding::None);
        let queue_url = env.url("OUTBOUND_QUEUE_URL");
        let publisher = PublisherConfig::from_env(env);
        let database = DatabaseConfig::for_answers(env);
        let database_budget = env.millis("DATABASE_BUDGET_MS", 50..=60_000, 25_000);
        Some(Self {
            account_sid: account_sid?,
            senders: senders?,
            region: region?,
            smart_encoding: smart_encoding?,
            queue_url: queue_url?.into(),
            publisher: publisher?,
            database: database?,
            database_budget: database_budget?,
        })
    }
}

fn senders(env: &mut Env<'_>) -> Option<Senders> {
    let numbers = env.optional_list("TWILIO_PHONE_NUMBER")?;
    let messaging_service_sid = env.optional_text("TWILIO_MESSAGING_SERVICE_SID")?;
    if numbers.iter().any(|number| !is_sender(number)) {
        env.problem("TWILIO_PHONE_NUMBER has an entry that is neither an E.164 number nor a short code");
    }
    if messaging_service_sid.as_ref().is_some_and(|sid| !sid.starts_with("MG")) {
        env.problem("TWILIO_MESSAGING_SERVICE_SID does not begin with MG");
    }
    if numbers.is_empty() && messaging_service_sid.is_none() {
        env.problem("TWILIO_PHONE_NUMBER and TWILIO_MESSAGING_SERVICE_SID are both missing: one is needed");
    }
    Some(Senders { numbers, messaging_service_sid })
}

fn is_sender(number: &str) -> bool {
    let is_short_code = (3..=8).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    is_short_code || number.parse::<E164>().is_ok()
}
