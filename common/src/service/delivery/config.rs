//! Configuration of deliveries.

use crate::config::Env;
use crate::db::deliveries::Limits;
use crate::domain::delivery::RetrySchedule;
use crate::queue::MAX_DELAY;
use std::time::Duration;

/// What is added to the timeout of an attempt for its lease: the time to record the result.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// How many undelivered events of a stream have a row. A dead receiver costs no more than these.
const MAX_ROWS: i32 = 1_000;

/// How many positions of the log one claim examines: some ten milliseconds.
const MAX_RANGE: i64 = 20_000;

/// A worker stays with a stream that can be claimed within this time, because SQS delays by whole seconds.
const STAY: Duration = Duration::from_secs(1);

/// Where hints go, and when they count as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintConfig {
    pub(super) events_url: String,
    pub(super) slow_url: String,
    pub(super) every: Duration,
}

impl HintConfig {
    /// Reads from the environment:
    ///
    /// - `EVENTS_QUEUE_URL`, `SLOW_EVENTS_QUEUE_URL`: the queues of hints.
    /// - `EVENTS_HINT_SECONDS` (60): how long a hint without a reaction counts as sent. Then it is sent again.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let events_url = env.url("EVENTS_QUEUE_URL");
        let slow_url = env.url("SLOW_EVENTS_QUEUE_URL");
        // Workers show every ten seconds that they are at work, and in between for the length of an attempt.
        let every = env.seconds("EVENTS_HINT_SECONDS", 1..=3_600, 60);
        Some(Self { events_url: events_url?.into(), slow_url: slow_url?.into(), every: every? })
    }
}

/// How events are delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryConfig {
    pub(super) fast_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) budget: Duration,
    pub(super) schedule: RetrySchedule,
    pub(super) limits: Limits,
}

impl DeliveryConfig {
    /// Reads from the environment:
    ///
    /// - `EVENTS_FAST_TIMEOUT_MS` (1000): how long an attempt takes before it is left to the workers of
    ///   `[slow-events]`.
    /// - `EVENTS_ATTEMPT_TIMEOUT_MS` (15000): the timeout of an attempt there.
    /// - `EVENTS_SLOW_SECONDS` (600): how long a stream stays slow after a slow attempt.
    /// - `EVENTS_RUN_BUDGET_MS` (1000): how long a worker starts attempts of a stream before others have their turn.
    /// - `EVENTS_RETRY_DELAYS_SECONDS` (5,300,1800,7200,18000,36000,36000): the delays between attempts of an event.
    /// - `EVENTS_PAUSE_SECONDS` (5), `EVENTS_MAX_PAUSE_SECONDS` (300): the pause after a receiver failed as a whole. It
    ///   doubles with each further failure.
    /// - `EVENTS_REPLAY_PER_SECOND` (100): the rate of a replay.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let fast_timeout = env.millis("EVENTS_FAST_TIMEOUT_MS", 1..=60_000, 1_000);
        let timeout = env.millis("EVENTS_ATTEMPT_TIMEOUT_MS", 1..=60_000, 15_000);
        let slow = env.seconds("EVENTS_SLOW_SECONDS", 0..=86_400, 600);
        let budget = env.millis("EVENTS_RUN_BUDGET_MS", 1..=600_000, 1_000);
        let delays = env.seconds_list("EVENTS_RETRY_DELAYS_SECONDS", &RetrySchedule::DEFAULT_SECONDS);
        let pause = env.seconds("EVENTS_PAUSE_SECONDS", 1..=86_400, 5);
        let max_pause = env.seconds("EVENTS_MAX_PAUSE_SECONDS", 1..=86_400, 300);
        let replay = env.number("EVENTS_REPLAY_PER_SECOND", 1..=100_000, 100);
        let (fast_timeout, timeout) = (fast_timeout?, timeout?);
        Some(Self {
            fast_timeout: fast_timeout.min(timeout),
            timeout,
            budget: budget?,
            schedule: RetrySchedule::new(delays?),
            limits: Limits {
                lease_seconds: (timeout + LEASE_MARGIN).as_secs_f64(),
                max_rows: MAX_ROWS,
                max_range: MAX_RANGE,
                pause_seconds: pause?.as_secs_f64(),
                max_pause_seconds: max_pause?.as_secs_f64(),
                slow_seconds: slow?.as_secs_f64(),
                slow_ms: i32::try_from(fast_timeout.as_millis()).unwrap_or(i32::MAX),
                replay_per_second: replay? as f64,
                stay_seconds: STAY.as_secs_f64(),
                wake_seconds: MAX_DELAY.as_secs_f64(),
            },
        })
    }
}
