//! Configuration.

use crate::senders::Senders;
use common::config::{Configuration, Env};
use common::db::DatabaseConfig;
use common::domain::phone::{E164, Region};
use common::domain::sids::AccountSid;
use common::domain::smart_encoding::SmartEncoding;
use common::queue::PublisherConfig;
use common::service::conversation;
use std::time::Duration;

/// Configuration, read from the environment: `TWILIO_ACCOUNT_SID`; `TWILIO_PHONE_NUMBER` (a list) and/or
/// `TWILIO_MESSAGING_SERVICE_SID`; `OUTBOUND_QUEUE_URL`; `DEFAULT_REGION` (US), the region of numbers without a country
/// code; `RECIPIENT_COUNTRIES` (the default region), to whose numbers messages may be sent; `SMART_ENCODING` (none),
/// the default for requests; the variables of [`PublisherConfig`] and [`DatabaseConfig`]; and `DATABASE_BUDGET_MS`
/// (25000), the time limit for Postgres in one request. API Gateway times out after 30 s. If Postgres refuses
/// connections, the request fails within two seconds.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) account_sid: AccountSid,
    pub(crate) senders: Senders,
    pub(crate) region: Region,
    pub(crate) recipient_countries: Vec<Region>,
    pub(crate) smart_encoding: SmartEncoding,
    pub(crate) queue_url: String,
    pub(crate) publisher: PublisherConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) database_budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.parse("TWILIO_ACCOUNT_SID");
        let senders = senders(env);
        let region = conversation::region(env);
        let recipient_countries = recipient_countries(env, region);
        let smart_encoding = env.parse_or("SMART_ENCODING", SmartEncoding::None);
        let queue_url = env.url("OUTBOUND_QUEUE_URL");
        let publisher = PublisherConfig::from_env(env);
        let database = DatabaseConfig::for_answers(env);
        let database_budget = env.millis("DATABASE_BUDGET_MS", 50..=60_000, 25_000);
        Some(Self {
            account_sid: account_sid?,
            senders: senders?,
            region: region?,
            recipient_countries: recipient_countries?,
            smart_encoding: smart_encoding?,
            queue_url: queue_url?.into(),
            publisher: publisher?,
            database: database?,
            database_budget: database_budget?,
        })
    }
}

fn recipient_countries(env: &mut Env<'_>, region: Option<Region>) -> Option<Vec<Region>> {
    let codes = env.optional_list("RECIPIENT_COUNTRIES")?;
    if codes.is_empty() {
        return Some(vec![region?]);
    }
    let countries: Result<Vec<Region>, _> = codes.iter().map(|code| code.parse()).collect();
    if countries.is_err() {
        env.problem(
            "RECIPIENT_COUNTRIES has an entry that is not an ISO 3166-1 code of two letters, such as US",
        );
    }
    countries.ok()
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
