//! Every minute: puts back on its queue what should be there and is not, and ends what nobody else ends.
//!
//! - webhooks that SQS did not take, from the spool to `[inbound]` and `[status]`;
//! - senders with something to do, now or within the next minute, and nothing on its way to `[outbound]` for them: what
//!   was to be sent later, whose time for another try has come, or whose place on the queue got lost;
//! - sends that have waited for too long, which fail;
//! - claims of functions that died: their messages become `unknown`, they are not sent again;
//! - status callbacks that came before their message's SID was known;
//! - idempotency keys that are past their time.
//!
//! Each part has its own share of the run's time, and runs even if another fails or does not end; then the invocation fails,
//! so that the alarm on errors is raised. Running it at any time, twice or side by side does no harm.

mod spool;

use common::clock;
use common::config::{Configuration, Env};
use common::db::senders::{self, WakeUp};
use common::db::spool::SpoolQueue;
use common::db::{DatabaseConfig, Db, DbError, maintenance, sends, statuses};
use common::queue::{DispatchMessage, PublishError, Publisher, PublisherConfig};
use common::telemetry::{self, Metric};
use common::twilio::RenewalPolicy;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How many rows are taken at a time: a few calls to SQS, and little to repeat if one fails.
const PAGE: i64 = 100;

/// A part of a run.
struct Part {
    name: &'static str,
    /// Its share of the run's time. A part takes pages during the first half of it, and is stopped at the end.
    share: u32,
}

const INBOUND_SPOOL: Part = Part { name: "inbound spool", share: 12 };
const STATUS_SPOOL: Part = Part { name: "status spool", share: 12 };
const BACKLOG: Part = Part { name: "spool backlog", share: 2 };
const CLAIMS: Part = Part { name: "claims", share: 6 };
const EXPIRED: Part = Part { name: "expired sends", share: 6 };
const SENDS: Part = Part { name: "sends", share: 6 };
const CALLBACKS: Part = Part { name: "callbacks", share: 4 };
const KEYS: Part = Part { name: "idempotency keys", share: 2 };
const PARTS: [Part; 8] = [INBOUND_SPOOL, STATUS_SPOOL, BACKLOG, CLAIMS, EXPIRED, SENDS, CALLBACKS, KEYS];

/// What the function is told by its environment: what [`DatabaseConfig`], [`PublisherConfig`] and [`RenewalPolicy`]
/// read, the three queues' URLs, `SEND_MAX_AGE_SECONDS` (86 400): how long a message without `send_before` may wait,
/// `SEND_CLAIM_TIMEOUT_SECONDS` (60): how long a function may hold a message before it is taken for dead, which
/// must be longer than `send-outbound` can run, and `SWEEP_BUDGET_SECONDS` (50): how long a run may take, which must be
/// less than its timeout.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    publisher: PublisherConfig,
    queues: Queues,
    max_age: Duration,
    claim_timeout: Duration,
    budget: Duration,
    renewals: RenewalPolicy,
}

/// Where things are put back.
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
        let max_age = env.seconds("SEND_MAX_AGE_SECONDS", 1..=2_592_000, 86_400);
        let claim_timeout = env.seconds("SEND_CLAIM_TIMEOUT_SECONDS", 1..=86_400, 60);
        let budget = env.seconds("SWEEP_BUDGET_SECONDS", 1..=840, 50);
        let renewals = RenewalPolicy::from_env(env);
        Some(Self {
            database: database?,
            publisher: publisher?,
            queues: Queues { inbound: inbound?.into(), status: status?.into(), outbound: outbound?.into() },
            max_age: max_age?,
            claim_timeout: claim_timeout?,
            budget: budget?,
            renewals: renewals?,
        })
    }
}

/// What is built once and borrowed by every run.
#[derive(Debug)]
pub struct App {
    db: Db,
    publisher: Publisher,
    queues: Queues,
    max_age: Duration,
    claim_timeout: Duration,
    budget: Duration,
    renewals: RenewalPolicy,
}

impl App {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`DbError`] when the connection can't be set up at all. Postgres being away is no error.
    pub async fn init(config: Config) -> Result<Self, DbError> {
        Ok(Self {
            db: Db::new(&config.database)?,
            publisher: Publisher::new(config.publisher),
            queues: config.queues,
            max_age: config.max_age,
            claim_timeout: config.claim_timeout,
            budget: config.budget,
            renewals: config.renewals,
        })
    }
}

/// Why a part of a run was not done; the next run does it.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// SQS failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The part was stopped at the end of its time.
    #[error("it did not end within {} ms", .0.as_millis())]
    TooSlow(Duration),
    /// Several parts failed; each was logged.
    #[error("{0} of the sweep's parts failed")]
    Parts(usize),
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    spool_drained: usize,
    claims_abandoned: usize,
    sends_expired: usize,
    senders_woken: usize,
    callbacks_joined: usize,
}

/// Runs all parts once.
///
/// # Errors
///
/// [`SweepError::Parts`] when a part failed, after all have been tried.
pub async fn handle(app: &App) -> Result<Swept, SweepError> {
    let mut run = Run { budget: app.budget, failures: 0 };
    let (inbound, status) = (&app.queues.inbound, &app.queues.status);
    let swept = Swept {
        spool_drained: run
            .part(&INBOUND_SPOOL, async |until| spool::drain(app, SpoolQueue::Inbound, inbound, until).await)
            .await
            + run
                .part(&STATUS_SPOOL, async |until| spool::drain(app, SpoolQueue::Status, status, until).await)
                .await,
        claims_abandoned: run.part(&CLAIMS, async |until| abandon_claims(app, until).await).await,
        sends_expired: run.part(&EXPIRED, async |until| expire(app, until).await).await,
        senders_woken: run.part(&SENDS, async |_| wake(app).await).await,
        callbacks_joined: run.part(&CALLBACKS, async |_| join_callbacks(app).await).await,
    };
    run.part(&BACKLOG, async |_| Ok(spool::report_backlog(app).await.map(|()| 0)?)).await;
    run.part(&KEYS, async |_| {
        let forgotten = maintenance::forget_idempotency_keys(&app.db, clock::now(), PAGE * 10).await;
        Ok(forgotten.map(|()| 0)?)
    })
    .await;
    if run.failures > 0 { Err(SweepError::Parts(run.failures)) } else { Ok(swept) }
}

struct Run {
    budget: Duration,
    failures: usize,
}

impl Run {
    /// Runs one part for at most its share of the time, and counts its failure. The part gets the time until which it may
    /// begin a page.
    async fn part(
        &mut self,
        part: &Part,
        work: impl AsyncFnOnce(Instant) -> Result<usize, SweepError>,
    ) -> usize {
        let share = self.budget * part.share / PARTS.iter().map(|part| part.share).sum::<u32>();
        let outcome = tokio::time::timeout(share, work(Instant::now() + share / 2)).await;
        outcome.unwrap_or(Err(SweepError::TooSlow(share))).unwrap_or_else(|error| {
            let error = common::error::chain(&error);
            tracing::error!(part = part.name, error, "a part of the sweep failed");
            self.failures += 1;
            0
        })
    }
}

async fn join_callbacks(app: &App) -> Result<usize, SweepError> {
    Ok(statuses::join_orphans(&app.db, None, &app.renewals, clock::now()).await?)
}

async fn abandon_claims(app: &App, until: Instant) -> Result<usize, SweepError> {
    let mut ended = 0;
    loop {
        let now = clock::now();
        let abandoned = sends::abandon_claims(&app.db, now - app.claim_timeout, now, PAGE).await?;
        for message_id in &abandoned.unknown {
            tracing::warn!(%message_id, "a function died while it held this message: it is not known whether it was sent");
        }
        telemetry::count(Metric::SendsUnknown, abandoned.unknown.len());
        ended += abandoned.ended;
        if abandoned.ended < PAGE as usize || Instant::now() >= until {
            break;
        }
    }
    Ok(ended)
}

/// Wakes the senders that have something to do, one wake-up each, however many messages wait.
async fn wake(app: &App) -> Result<usize, SweepError> {
    let woken = senders::wake(&app.db, clock::now()).await?;
    let messages: Vec<_> = woken
        .into_iter()
        .map(|(WakeUp { sender, due_at }, delay)| {
            (DispatchMessage::wake_up(sender, due_at, 0), clock::new_id().to_string(), delay)
        })
        .collect();
    let put = app.publisher.send_all_later(&app.queues.outbound, &messages).await;
    let missed = match &put {
        Ok(missed) => missed.iter().map(|position| &messages[*position].0).collect(),
        // Some may be on the queue already: a sender that is woken twice sends what it would have sent.
        Err(_) => messages.iter().map(|(message, _, _)| message).collect(),
    };
    not_woken(app, missed).await?;
    let woken = messages.len() - put?.len();
    telemetry::count(Metric::SendersWoken, woken);
    Ok(woken)
}

async fn not_woken(app: &App, missed: Vec<&DispatchMessage>) -> Result<(), DbError> {
    let senders: Vec<&str> = missed
        .into_iter()
        .filter_map(|message| match message {
            DispatchMessage::V2(wake_up) => Some(wake_up.sender.as_str()),
            DispatchMessage::V1(_) => None,
        })
        .collect();
    if senders.is_empty() { Ok(()) } else { senders::not_woken(&app.db, &senders).await }
}

/// Fails what has waited for too long, whether anybody ever claimed it or not.
async fn expire(app: &App, until: Instant) -> Result<usize, SweepError> {
    let mut expired = 0;
    loop {
        let page = sends::expire(&app.db, clock::now(), app.max_age, PAGE).await?;
        for message_id in &page {
            tracing::warn!(%message_id, "not sent: its time has passed");
        }
        expired += page.len();
        if page.len() < PAGE as usize || Instant::now() >= until {
            break;
        }
    }
    telemetry::count(Metric::SendsFailed, expired);
    Ok(expired)
}
