//! Every minute: the sweep, which puts missing messages back on their queues and completes unfinished work.
//!
//! - moves webhooks that SQS did not accept from the spool to `[inbound]` and `[status]`;
//! - wakes senders with messages due within the next minute and no wake-up on `[outbound]`: scheduled messages,
//!   retries, and messages whose queue message was lost;
//! - fails messages that have waited too long;
//! - cancels the waiting messages of cancelled batches, makes those of resumed ones due, and completes batches for
//!   whose messages no status is expected any more;
//! - marks the messages of functions that died as `unknown`. They are not sent again;
//! - puts messages with due files on `[media]`: files whose queue message was lost or whose copy is tried again, and
//!   copies of erased files, which are deleted;
//! - joins status callbacks that arrived before their message's SID was known;
//! - gives events their positions in the log, also if there are no readers, and sends a hint for `deliver-event`;
//! - deletes expired idempotency keys, and what API keys have used of their limits in past minutes.
//!
//! Each part has its own share of the run's time and runs even if another fails or times out. Then the invocation
//! fails, which raises the alarm on errors. Repeated and concurrent runs are safe.

mod spool;

use common::clock;
use common::config::{Configuration, Env};
use common::db::senders;
use common::db::spool::SpoolQueue;
use common::db::{DatabaseConfig, Db, DbError, batches, events, maintenance, media, sends, statuses};
use common::domain::batch::BatchStatus;
use common::domain::delivery_failure::FailurePolicy;
use common::queue::{MediaMessage, PublishError, Publisher, PublisherConfig};
use common::service::batch;
use common::service::event_hints::{EventHints, EventHintsConfig};
use common::service::media::{MediaHints, MediaHintsConfig};
use common::service::parts::{Part, PartTimedOut, Run};
use common::service::wake_ups::{self, QueuedWakeUp, WakeUpError};
use common::telemetry::{self, Metric};
use common::twilio::RenewalPolicy;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How many rows are processed at a time: a few SQS requests, and little to repeat if one fails.
const PAGE: i64 = 100;
/// How many due files are put on the queue per run. Those that are left are the oldest of the next run.
const DUE_FILES: i64 = 1000;

const INBOUND_SPOOL: Part = Part { name: "inbound spool", share: 12 };
const STATUS_SPOOL: Part = Part { name: "status spool", share: 12 };
const BACKLOG: Part = Part { name: "spool backlog", share: 2 };
const CLAIMS: Part = Part { name: "claims", share: 6 };
const EXPIRED: Part = Part { name: "expired sends", share: 6 };
const BATCHES: Part = Part { name: "batches", share: 6 };
const COMPLETIONS: Part = Part { name: "completion of batches", share: 2 };
const SENDS: Part = Part { name: "sends", share: 6 };
const CALLBACKS: Part = Part { name: "callbacks", share: 4 };
const EVENTS: Part = Part { name: "events", share: 4 };
const MEDIA: Part = Part { name: "media", share: 4 };
const KEYS: Part = Part { name: "idempotency keys", share: 2 };
const PARTS: [Part; 12] = [
    INBOUND_SPOOL,
    STATUS_SPOOL,
    BACKLOG,
    CLAIMS,
    EXPIRED,
    BATCHES,
    COMPLETIONS,
    SENDS,
    CALLBACKS,
    EVENTS,
    MEDIA,
    KEYS,
];

/// Configuration, read from the environment: [`DatabaseConfig`], [`PublisherConfig`], [`RenewalPolicy`],
/// [`EventHintsConfig`], [`MediaHintsConfig`], and
///
/// - `INBOUND_QUEUE_URL`, `STATUS_QUEUE_URL`, `OUTBOUND_QUEUE_URL`.
/// - `SEND_CLAIM_TIMEOUT_SECONDS` (60): when a claim is abandoned. It must exceed the timeout of `send-outbound`.
/// - `BATCH_COMPLETE_AFTER_SECONDS` (36000, Twilio's default validity period): how long after its last status change a
///   batch is complete, if its messages were handed to Twilio and have no final status.
/// - `SWEEP_BUDGET_SECONDS` (50): how long a run may take. It must be less than the function's timeout.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    publisher: PublisherConfig,
    queues: Queues,
    claim_timeout: Duration,
    batch_complete_after: Duration,
    budget: Duration,
    renewals: RenewalPolicy,
    events: EventHintsConfig,
    media: MediaHintsConfig,
}

/// The URLs of the queues.
#[derive(Debug, Clone)]
struct Queues {
    inbound: String,
    status: String,
    outbound: String,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let inbound = env.url("INBOUND_QUEUE_URL");
        let status = env.url("STATUS_QUEUE_URL");
        let outbound = env.url("OUTBOUND_QUEUE_URL");
        let claim_timeout = env.seconds("SEND_CLAIM_TIMEOUT_SECONDS", 1..=86_400, 60);
        let batch_complete_after = env.seconds("BATCH_COMPLETE_AFTER_SECONDS", 1..=2_592_000, 36_000);
        let budget = env.seconds("SWEEP_BUDGET_SECONDS", 1..=840, 50);
        let renewals = RenewalPolicy::from_env(env);
        let events = EventHintsConfig::from_env(env);
        let media = MediaHintsConfig::from_env(env);
        Some(Self {
            database: database?,
            publisher: publisher?,
            queues: Queues { inbound: inbound?.into(), status: status?.into(), outbound: outbound?.into() },
            claim_timeout: claim_timeout?,
            batch_complete_after: batch_complete_after?,
            budget: budget?,
            renewals: renewals?,
            events: events?,
            media: media?,
        })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
    publisher: Publisher,
    events: EventHints,
    media: MediaHints,
}

impl App {
    /// Builds the clients without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError`] if the settings of Postgres are invalid. An unavailable Postgres is not an error.
    pub async fn init(config: Config) -> Result<Self, DbError> {
        let db = Db::new(&config.database)?;
        let publisher = Publisher::new(config.publisher.clone());
        let events = EventHints::new(publisher.clone(), config.events.clone());
        let media = MediaHints::new(publisher.clone(), config.media.clone());
        Ok(Self { config, db, publisher, events, media })
    }
}

/// A part of a run failed. The next run retries it.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// SQS failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Wake-ups were not put on the queue.
    #[error(transparent)]
    WakeUps(#[from] WakeUpError),
    /// The part was stopped at the end of its share.
    #[error(transparent)]
    TimedOut(#[from] PartTimedOut),
    /// Some parts failed. Each was logged.
    #[error("{0} parts of the sweep failed")]
    Parts(usize),
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    spool_drained: usize,
    claims_abandoned: usize,
    sends_expired: usize,
    batch_messages_changed: usize,
    batches_completed: usize,
    senders_woken: usize,
    callbacks_joined: usize,
    events_numbered: usize,
    media_hinted: usize,
}

/// Runs all parts once.
///
/// # Errors
///
/// [`SweepError::Parts`] if a part failed, after all have run.
pub async fn handle(app: &App) -> Result<Swept, SweepError> {
    let mut run = Run::new(app.config.budget, &PARTS);
    let (inbound, status) = (&app.config.queues.inbound, &app.config.queues.status);
    let swept = Swept {
        spool_drained: run
            .part(&INBOUND_SPOOL, async |until| spool::drain(app, SpoolQueue::Inbound, inbound, until).await)
            .await
            + run
                .part(&STATUS_SPOOL, async |until| spool::drain(app, SpoolQueue::Status, status, until).await)
                .await,
        claims_abandoned: run.part(&CLAIMS, async |until| abandon_claims(app, until).await).await,
        sends_expired: run.part(&EXPIRED, async |until| expire(app, until).await).await,
        batch_messages_changed: run.part(&BATCHES, async |until| finish_batches(app, until).await).await,
        batches_completed: run.part(&COMPLETIONS, async |_| complete_batches(app).await).await,
        senders_woken: run.part(&SENDS, async |_| wake(app).await).await,
        callbacks_joined: run.part(&CALLBACKS, async |_| join_callbacks(app).await).await,
        events_numbered: run.part(&EVENTS, async |until| number_events(app, until).await).await,
        media_hinted: run.part(&MEDIA, async |_| hint_media(app).await).await,
    };
    run.part(&BACKLOG, async |_| Ok::<_, SweepError>(spool::report_backlog(app).await?)).await;
    run.part(&KEYS, async |_| {
        maintenance::forget_idempotency_keys(&app.db, clock::now(), PAGE * 10).await?;
        // A key has up to 16 rows per minute.
        Ok::<_, SweepError>(maintenance::forget_key_usage(&app.db, clock::now(), PAGE * 100).await?)
    })
    .await;
    if run.failures() > 0 { Err(SweepError::Parts(run.failures())) } else { Ok(swept) }
}

async fn join_callbacks(app: &App) -> Result<usize, SweepError> {
    Ok(statuses::join_orphans(&app.db, None, &app.config.renewals, clock::now()).await?)
}

async fn abandon_claims(app: &App, until: Instant) -> Result<usize, SweepError> {
    let mut ended = 0;
    loop {
        let now = clock::now();
        let abandoned = sends::abandon_claims(&app.db, now - app.config.claim_timeout, now, PAGE).await?;
        for message_id in &abandoned.unknown {
            tracing::warn!(%message_id, "claim abandoned, send outcome unknown");
        }
        telemetry::count(Metric::SendsUnknown, abandoned.unknown.len());
        ended += abandoned.ended;
        if abandoned.ended < PAGE as usize || Instant::now() >= until {
            break;
        }
    }
    Ok(ended)
}

/// Finishes what requests to cancel or resume a batch left.
async fn finish_batches(app: &App, until: Instant) -> Result<usize, SweepError> {
    let mut changed = 0;
    for unfinished in batches::unfinished(&app.db, PAGE).await? {
        changed += match unfinished.state {
            BatchStatus::Cancelled => batch::cancel(&app.db, unfinished.id, until).await?,
            _ => batch::resume(&app.db, unfinished.id, until).await?,
        };
        if Instant::now() >= until {
            break;
        }
    }
    Ok(changed)
}

async fn complete_batches(app: &App) -> Result<usize, SweepError> {
    let now = clock::now();
    let completed = batches::complete(&app.db, now - app.config.batch_complete_after, now, PAGE).await?;
    if completed > 0 {
        tracing::info!(batches = completed, "completed batches without further statuses");
    }
    Ok(completed)
}

/// Gives events their positions. Readers do the same before they read.
async fn number_events(app: &App, until: Instant) -> Result<usize, SweepError> {
    let mut numbered = 0;
    loop {
        let end = events::number(&app.db).await?;
        numbered += end.numbered;
        if !end.has_more || Instant::now() >= until {
            break;
        }
    }
    if numbered > 0 {
        app.events.send().await;
    }
    Ok(numbered)
}

/// Puts messages with due files on `[media]`. A hint for a file that a worker has already has no effect.
async fn hint_media(app: &App) -> Result<usize, SweepError> {
    let due = media::due(&app.db, clock::now(), DUE_FILES).await?;
    let hint = |due: media::DueMessage| {
        (MediaMessage::new(due.message_id, due.conversation_id), clock::new_id().to_string())
    };
    let hints: Vec<_> = due.into_iter().map(hint).collect();
    Ok(app.media.send(&hints).await)
}

/// Wakes senders that have messages due and no wake-up on the queue, with one wake-up each.
async fn wake(app: &App) -> Result<usize, SweepError> {
    let due = senders::wake(&app.db, clock::now()).await?;
    let wake_ups = due.into_iter().map(|(wake_up, delay)| QueuedWakeUp { wake_up, delay, hops: 0 }).collect();
    let woken = wake_ups::publish(&app.db, &app.publisher, &app.config.queues.outbound, wake_ups).await?;
    telemetry::count(Metric::SendersWoken, woken);
    Ok(woken)
}

/// Fails messages that have waited too long.
async fn expire(app: &App, until: Instant) -> Result<usize, SweepError> {
    let mut expired = 0;
    loop {
        let page = sends::expire(&app.db, clock::now(), app.config.renewals.max_age(), PAGE).await?;
        for message_id in &page {
            tracing::warn!(%message_id, "message expired before it was sent");
        }
        expired += page.len();
        if page.len() < PAGE as usize || Instant::now() >= until {
            break;
        }
    }
    telemetry::count(Metric::SendsFailed, expired);
    Ok(expired)
}
