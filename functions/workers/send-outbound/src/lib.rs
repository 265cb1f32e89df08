//! Consumer of `[outbound]`: claims the most urgent messages of the senders in a batch, creates them at Twilio, and
//! records the outcomes.
//!
//! A record names a sender. Postgres decides which of its messages are sent, and how many, by priority, pace, holds and
//! quiet hours (`common/docs/decisions/0009-pace-in-postgres.md`). A wake-up follows for messages that must wait.
//!
//! Reads and writes Postgres, calls Twilio, puts wake-ups on `[outbound]` and a hint about events on `[events]`. A
//! claim is committed before the create request, so duplicate records and concurrent functions send a message once. If
//! the function dies in between, the sweep marks the message as `unknown` and does not send it again.

mod gate;
mod pace;
mod plan;
mod quiet;
mod record;
mod send;
mod verify;

pub use plan::RetryPolicy;

use common::clock;
use common::config::{Configuration, Env};
use common::db::senders::WakeUp;
use common::db::sends::{self, ClaimRequest, Claims, SendPace};
use common::db::{DatabaseConfig, Db};
use common::domain::quiet_hours::QuietHours;
use common::queue::{Batch, DispatchMessage, Publisher, PublisherConfig};
use common::service::event_hints::{EventHints, EventHintsConfig};
use common::service::lookup::InitError;
use common::service::sending;
use common::telemetry::{self, Metric};
use common::twilio::webhook::WEBHOOK_PATHS;
use common::twilio::{RenewalPolicy, TwilioClient, TwilioConfig};
use jiff::Timestamp;
use pace::Hops;
use std::collections::HashSet;
use std::time::Duration;

/// Configuration, read from the environment: [`DatabaseConfig`], [`TwilioConfig`], [`RetryPolicy`], [`RenewalPolicy`],
/// [`PublisherConfig`], [`EventHintsConfig`], and
///
/// - `PUBLIC_WEBHOOK_BASE_URL`: Twilio sends status callbacks to its first entry. The template's default is the
///   function URL of `delivery-status`.
/// - `OUTBOUND_QUEUE_URL`: the queue for wake-ups.
/// - `SEND_VERIFY_AFTER_SECONDS` (600): after how long a wait a message is looked for at Twilio before it is created.
/// - `SEND_VERIFY_SINCE` (none): the time of a restored backup. Every message is looked for at Twilio since then.
/// - `SENDER_SEGMENTS_PER_SECOND` (10, with defaults for other kinds of senders; example: `10,+12035550100=1,MG…=100`).
/// - `SENDER_MMS_PER_SECOND` (1 for long codes, 3 for toll-free numbers) and `SENDER_SEGMENTS_PER_DAY` (none).
/// - `SENDER_10DLC_REGISTRATION` (none): a trust score, `low_volume` or `sole_proprietor`, for the limits above.
/// - `SENDER_BURST_SEGMENTS` (30, at least three seconds' worth).
/// - `SENDER_HOLD_SECONDS` (300): how long a sender is held after Twilio refused it.
/// - `QUIET_HOURS` (none) and `QUIET_HOURS_DEFAULT_TIME_ZONE` (America/New_York): when messages are not sent.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    twilio: TwilioConfig,
    callback_base_url: String,
    retry: RetryPolicy,
    renewals: RenewalPolicy,
    verify_after: Duration,
    verify_since: Option<Timestamp>,
    pace: SendPace,
    quiet: Option<QuietHours>,
    publisher: PublisherConfig,
    queue_url: String,
    events: EventHintsConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let twilio = TwilioConfig::from_env(env);
        let base_urls = env.base_urls("PUBLIC_WEBHOOK_BASE_URL", &WEBHOOK_PATHS);
        let retry = RetryPolicy::from_env(env);
        let renewals = RenewalPolicy::from_env(env);
        let verify_after = env.seconds("SEND_VERIFY_AFTER_SECONDS", 1..=2_592_000, 600);
        let verify_since = env.optional_parse("SEND_VERIFY_SINCE");
        let pace = pace::from_env(env, retry.as_ref());
        let quiet = sending::quiet_hours(env);
        let publisher = PublisherConfig::from_env(env);
        let queue_url = env.url("OUTBOUND_QUEUE_URL");
        let events = EventHintsConfig::from_env(env);
        Some(Self {
            database: database?,
            twilio: twilio?,
            callback_base_url: base_urls?.into_iter().next()?,
            retry: retry?,
            renewals: renewals?,
            verify_after: verify_after?,
            verify_since: verify_since?,
            pace: pace?,
            quiet: quiet?,
            publisher: publisher?,
            queue_url: queue_url?.into(),
            events: events?,
        })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
    twilio: TwilioClient,
    publisher: Publisher,
    events: EventHints,
}

impl App {
    /// Builds the clients and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] if the configuration is invalid. An unavailable service is not an error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let twilio = TwilioClient::new(config.twilio.clone())?;
        db.warm_up().await;
        let publisher = Publisher::new(config.publisher.clone());
        let events = EventHints::new(publisher.clone(), config.events.clone());
        Ok(Self { config, db, twilio, publisher, events })
    }
}

/// Claims messages of the batch's senders and sends them concurrently.
///
/// A record also succeeds if its sender must wait or has no messages: a wake-up follows for messages that wait.
pub async fn handle(app: &App, mut batch: Batch<DispatchMessage>) -> Batch<DispatchMessage> {
    if batch.records.is_empty() {
        return batch;
    }
    let mut request = claim_request(&batch);
    let claims = async {
        quiet::postpone(app, &mut request).await?;
        sends::claim(&app.db, &request, &app.config.pace, clock::now()).await
    };
    match claims.await {
        Ok(claims) => {
            telemetry::count(Metric::Duplicates, batch.records.len() - distinct(&request) + claims.done);
            send(app, claims, &Hops::of(&batch)).await;
        }
        Err(error) => {
            for record in std::mem::take(&mut batch.records) {
                batch.fail(&record.sqs_message_id, &record.request_id, &error);
            }
        }
    }
    batch
}

/// Returns the messages and senders that the records name.
fn claim_request(batch: &Batch<DispatchMessage>) -> ClaimRequest {
    let mut request = ClaimRequest::default();
    for record in &batch.records {
        match &record.message {
            DispatchMessage::V1(dispatch) => request.messages.push(dispatch.message_id),
            DispatchMessage::V2(wake_up) => {
                request.wake_ups.push(WakeUp { sender: wake_up.sender.clone(), due_at: wake_up.due_at })
            }
        }
    }
    request
}

fn distinct(request: &ClaimRequest) -> usize {
    request.messages.iter().collect::<HashSet<_>>().len() + request.wake_ups.len()
}

async fn send(app: &App, claims: Claims, hops: &Hops) {
    telemetry::count(Metric::SendsFailed, claims.refused.len());
    pace::report_filled(&claims.filled);
    for message_id in &claims.refused {
        tracing::info!(%message_id, "message not sent, opted out or expired");
    }
    let changes_messages = !claims.claimed.is_empty() || !claims.refused.is_empty();
    tokio::join!(pace::wake(app, claims.wake_ups, hops), send::send_all(app, &claims.claimed));
    if changes_messages {
        app.events.send().await;
    }
}
