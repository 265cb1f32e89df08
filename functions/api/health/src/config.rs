//! Configuration.

use common::config::{Configuration, Env};
use common::db::DatabaseConfig;
use common::queue::PublisherConfig;
use common::twilio::TwilioConfig;
use std::time::Duration;
use url::Url;

/// The required queue URLs.
const QUEUES: [&str; 6] = [
    "INBOUND_QUEUE_URL",
    "STATUS_QUEUE_URL",
    "OUTBOUND_QUEUE_URL",
    "EVENTS_QUEUE_URL",
    "SLOW_EVENTS_QUEUE_URL",
    "MEDIA_QUEUE_URL",
];

/// Configuration, read from the environment: the variables of [`DatabaseConfig`], [`PublisherConfig`] and
/// [`TwilioConfig`], `INBOUND_QUEUE_URL`, `STATUS_QUEUE_URL`, `OUTBOUND_QUEUE_URL`, `EVENTS_QUEUE_URL`,
/// `SLOW_EVENTS_QUEUE_URL`, `MEDIA_QUEUE_URL`, `IDENTIFY_QUEUE_URL` and `MONITOR_API_URL` (both optional),
/// `HEALTH_CHECK_TIMEOUT_MS` (1000), the time limit of each check, and `HEALTH_CACHE_SECONDS` (10), how long the result
/// of a deep check is cached; 0 disables the cache.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) database: DatabaseConfig,
    pub(crate) publisher: PublisherConfig,
    pub(crate) queue_urls: Vec<String>,
    pub(crate) twilio: TwilioConfig,
    pub(crate) monitor: Option<Url>,
    pub(crate) check_timeout: Duration,
    pub(crate) cache: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::for_answers(env);
        let publisher = PublisherConfig::from_env(env);
        let queue_urls = QUEUES.map(|name| env.url(name));
        let identify_queue_url = env.optional_url("IDENTIFY_QUEUE_URL");
        let twilio = TwilioConfig::from_env(env);
        let monitor = env.optional_url("MONITOR_API_URL");
        let check_timeout = env.millis("HEALTH_CHECK_TIMEOUT_MS", 1..=60_000, 1_000);
        let cache = env.seconds("HEALTH_CACHE_SECONDS", 0..=3_600, 10);
        Some(Self {
            database: database?,
            publisher: publisher?,
            queue_urls: queue_urls
                .into_iter()
                .chain(identify_queue_url?.map(Some))
                .map(|url| url.map(String::from))
                .collect::<Option<_>>()?,
            twilio: twilio?,
            monitor: monitor?,
            check_timeout: check_timeout?,
            cache: cache?,
        })
    }
}
