//! Consumer of `[outbound]`: claims what is most urgent for the senders of a batch, hands it to Twilio, and records what
//! came of it.
//!
//! A record asks for a sender to be looked at; which of its messages go, and how many, is decided in Postgres, by
//! priority, pace, holds and quiet hours (`common/docs/decisions/0009-pace-in-postgres.md`). What must wait comes back with a wake-up.
//!
//! Reads and writes Postgres, calls Twilio, puts wake-ups on `[outbound]`. A claim is committed before the call, so a
//! message that comes twice, or to two functions at once, is called for once; whoever dies in between leaves a claim
//! that the sweep turns into `unknown`, never into a second call.

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
use common::db::sends::{self, Asked, Claims, Pace};
use common::db::{DatabaseConfig, Db};
use common::domain::quiet_hours::QuietHours;
use common::queue::{Batch, DispatchMessage, Publisher, PublisherConfig};
use common::telemetry::{self, Metric};
use common::twilio::webhook::WEBHOOK_PATHS;
use common::twilio::{RenewalPolicy, TwilioClient, TwilioConfig};
use lookup::InitError;
use pace::Hops;
use std::collections::HashSet;
use std::time::Duration;

/// What the function is told by its environment: what [`DatabaseConfig`], [`TwilioConfig`], [`RetryPolicy`],
/// [`RenewalPolicy`] and [`PublisherConfig`] read; `PUBLIC_WEBHOOK_BASE_URL`, whose first entry is where Twilio reports
/// the status; `OUTBOUND_QUEUE_URL`; `SEND_VERIFY_AFTER_SECONDS` (600): after how long a wait a message is looked for
/// at Twilio before it is created; and the pace: `SENDER_SEGMENTS_PER_SECOND` (10, and what is known of other kinds of
/// senders; `10,+12035550100=1,MG…=100`), `SENDER_BURST_SEGMENTS` (30, and three seconds' worth at least) and
/// `SENDER_HOLD_SECONDS` (300): how long a sender is held that Twilio refuses; `QUIET_HOURS` (none) and `QUIET_HOURS_DEFAULT_TIME_ZONE` (America/New_York):
/// when recipients are not disturbed.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    twilio: TwilioConfig,
    callback_base_url: String,
    retry: RetryPolicy,
    renewals: RenewalPolicy,
    verify_after: Duration,
    pace: Pace,
    quiet: Option<QuietHours>,
    publisher: PublisherConfig,
    queue_url: String,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let twilio = TwilioConfig::from_env(env);
        let base_urls = env.base_urls("PUBLIC_WEBHOOK_BASE_URL", &WEBHOOK_PATHS);
        let retry = RetryPolicy::from_env(env);
        let renewals = RenewalPolicy::from_env(env);
        let verify_after = env.seconds("SEND_VERIFY_AFTER_SECONDS", 1..=2_592_000, 600);
        let pace = pace::from_env(env, retry.as_ref());
        let quiet = quiet::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let queue_url = env.url("OUTBOUND_QUEUE_URL");
        Some(Self {
            database: database?,
            twilio: twilio?,
            callback_base_url: base_urls?.into_iter().next()?,
            retry: retry?,
            renewals: renewals?,
            verify_after: verify_after?,
            pace: pace?,
            quiet: quiet?,
            publisher: publisher?,
            queue_url: queue_url?.into(),
        })
    }
}

/// What is built once and borrowed by every batch.
#[derive(Debug)]
pub struct App {
    db: Db,
    twilio: TwilioClient,
    callback_base_url: String,
    retry: RetryPolicy,
    renewals: RenewalPolicy,
    verify_after: Duration,
    pace: Pace,
    quiet: Option<QuietHours>,
    publisher: Publisher,
    queue_url: String,
}

impl App {
    /// Builds it, and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] when Postgres or Twilio can't be spoken to at all. Their being away is no error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let twilio = TwilioClient::new(config.twilio)?;
        db.warm_up().await;
        Ok(Self {
            db,
            twilio,
            callback_base_url: config.callback_base_url,
            retry: config.retry,
            renewals: config.renewals,
            verify_after: config.verify_after,
            pace: config.pace,
            quiet: config.quiet,
            publisher: Publisher::new(config.publisher),
            queue_url: config.queue_url,
        })
    }
}

/// Claims for the senders of a batch and sends what was claimed, all at once.
///
/// A record whose sender may not send now, or has nothing to send, succeeds: what waits has a wake-up on its way.
pub async fn handle(app: &App, mut batch: Batch<DispatchMessage>) -> Batch<DispatchMessage> {
    if batch.records.is_empty() {
        return batch;
    }
    let mut asked = asked(&batch);
    let claims = async {
        quiet::respect(app, &mut asked).await?;
        sends::claim(&app.db, &asked, &app.pace, clock::now()).await
    };
    match claims.await {
        Ok(claims) => {
            telemetry::count(Metric::Duplicates, batch.records.len() - distinct(&asked) + claims.done);
            act(app, claims, &Hops::of(&batch)).await;
        }
        Err(error) => {
            for record in std::mem::take(&mut batch.records) {
                batch.fail(&record.sqs_message_id, &record.request_id, &error);
            }
        }
    }
    batch
}

/// What the records ask for.
fn asked(batch: &Batch<DispatchMessage>) -> Asked {
    let mut asked = Asked::default();
    for record in &batch.records {
        match &record.message {
            DispatchMessage::V1(dispatch) => asked.messages.push(dispatch.message_id),
            DispatchMessage::V2(wake_up) => {
                asked.wake_ups.push(WakeUp { sender: wake_up.sender.clone(), due_at: wake_up.due_at })
            }
        }
    }
    asked
}

fn distinct(asked: &Asked) -> usize {
    asked.messages.iter().collect::<HashSet<_>>().len() + asked.wake_ups.len()
}

async fn act(app: &App, claims: Claims, hops: &Hops) {
    telemetry::count(Metric::SendsFailed, claims.refused.len());
    for message_id in &claims.refused {
        tracing::info!(%message_id, "not sent: its recipient has opted out, or its time has passed");
    }
    tokio::join!(pace::wake(app, claims.wake_ups, hops), send::send_all(app, &claims.claimed));
}
