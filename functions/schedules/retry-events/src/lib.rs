//! Every minute: the sweep of deliveries, which replaces lost hints and judges failing subscriptions.
//!
//! - gives events their positions, compares them with the subscriptions, and sends hints for the streams that match;
//! - sends hints for streams with due work and neither a hint nor a worker;
//! - warns about subscriptions that have failed for long, and disables those that have failed for too long;
//! - publishes the events of this to the topic of the alarms, if there is one;
//! - removes secrets before rotations whose time is over, and replays that are complete;
//! - reports how many events are undelivered.
//!
//! Each part has its own share of the run's time and runs even if another fails or times out. Then the invocation
//! fails, which raises the alarm on errors. Repeated and concurrent runs are safe.

use common::clock;
use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, deliveries, notices};
use common::domain::event::EventType;
use common::queue::{Publisher, PublisherConfig};
use common::service::delivery::{HintConfig, HintError, Hints};
use common::service::parts::{Part, PartTimedOut, Run};
use common::telemetry::{self, Metric};
use common::topic::{Topic, TopicError};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How many hints are sent at a time.
const PAGE: i32 = 500;
/// How many notices are published in a run.
const MAX_NOTICES: i64 = 100;

const JUDGE: Part = Part { name: "failing subscriptions", share: 4 };
const COMPARE: Part = Part { name: "comparison", share: 8 };
const NOTIFY: Part = Part { name: "notices", share: 4 };
const DUE: Part = Part { name: "due streams", share: 8 };
const TIDY: Part = Part { name: "old secrets and replays", share: 2 };
const REPORT: Part = Part { name: "undelivered events", share: 2 };
const PARTS: [Part; 6] = [JUDGE, COMPARE, NOTIFY, DUE, TIDY, REPORT];

/// Configuration, read from the environment: [`DatabaseConfig`], [`PublisherConfig`], [`HintConfig`], and
///
/// - `EVENTS_DISABLE_AFTER_SECONDS` (432 000, five days): after how long without a success a failing subscription is
///   disabled. Warnings come at 50 and 90 percent of it.
/// - `ALARM_TOPIC_ARN` (optional): the SNS topic to which `subscription.warning` and `subscription.disabled` are
///   published.
/// - `SWEEP_BUDGET_SECONDS` (50): how long a run may take. It must be less than the function's timeout.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    publisher: PublisherConfig,
    hints: HintConfig,
    disable_after: Duration,
    topic_arn: Option<String>,
    budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let hints = HintConfig::from_env(env);
        let disable_after = env.seconds("EVENTS_DISABLE_AFTER_SECONDS", 1..=31_536_000, 432_000);
        let topic_arn = Topic::arn_from_env(env);
        let budget = env.seconds("SWEEP_BUDGET_SECONDS", 1..=840, 50);
        Some(Self {
            database: database?,
            publisher: publisher?,
            hints: hints?,
            disable_after: disable_after?,
            topic_arn: topic_arn?,
            budget: budget?,
        })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    db: Db,
    hints: Hints,
    disable_after: Duration,
    topic: Option<Topic>,
    budget: Duration,
}

impl App {
    /// Builds the clients without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError`] if the settings of Postgres are invalid. An unavailable Postgres is not an error.
    pub async fn init(config: Config) -> Result<Self, DbError> {
        let db = Db::new(&config.database)?;
        let hints = Hints::new(Publisher::new(config.publisher), config.hints);
        let topic = config.topic_arn.map(Topic::new);
        Ok(Self { db, hints, disable_after: config.disable_after, topic, budget: config.budget })
    }
}

/// A part of a run failed. The next run retries it.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Hints were not sent.
    #[error(transparent)]
    Hints(#[from] HintError),
    /// A notice was not published.
    #[error(transparent)]
    Topic(#[from] TopicError),
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
    subscriptions_warned: usize,
    subscriptions_disabled: usize,
    streams_matched: usize,
    notices_published: usize,
    streams_hinted: usize,
    events_undelivered: usize,
}

/// Runs all parts once.
///
/// # Errors
///
/// [`SweepError::Parts`] if a part failed, after all have run.
pub async fn handle(app: &App) -> Result<Swept, SweepError> {
    let mut run = Run::new(app.budget, &PARTS);
    let (warned, disabled) = run.part(&JUDGE, async |_| judge(app).await).await;
    let swept = Swept {
        subscriptions_warned: warned,
        subscriptions_disabled: disabled,
        // After the first part, whose events are compared too.
        streams_matched: run.part(&COMPARE, async |_| compare(app).await).await,
        // After the comparison, which numbers the events.
        notices_published: run.part(&NOTIFY, async |_| notify(app).await).await,
        streams_hinted: run.part(&DUE, async |until| hint(app, until).await).await,
        events_undelivered: run.part(&REPORT, async |_| report(app).await).await,
    };
    run.part(&TIDY, async |_| tidy(app).await).await;
    if run.failures() > 0 { Err(SweepError::Parts(run.failures())) } else { Ok(swept) }
}

/// Warns about subscriptions and disables them. Returns how many.
async fn judge(app: &App) -> Result<(usize, usize), SweepError> {
    let judged = deliveries::judge(&app.db, app.disable_after, clock::now()).await?;
    for found in &judged {
        let (subscription_id, percent) = (found.subscription_id, found.percent);
        if percent == 100 {
            tracing::error!(%subscription_id, "subscription disabled, it failed for too long");
        } else {
            tracing::warn!(%subscription_id, percent, "subscription fails and will be disabled");
        }
    }
    let disabled = judged.iter().filter(|found| found.percent == 100).count();
    let warned = judged.len() - disabled;
    telemetry::count(Metric::SubscriptionsWarned, warned);
    telemetry::count(Metric::SubscriptionsDisabled, disabled);
    Ok((warned, disabled))
}

/// Compares new events with the subscriptions and sends hints for the streams that match.
async fn compare(app: &App) -> Result<usize, SweepError> {
    let due = app.hints.compare(&app.db).await?;
    Ok(app.hints.send(&app.db, &due).await?)
}

/// Publishes events about subscriptions to the topic, at least once. Without a topic, they are skipped. Returns how
/// many were published.
async fn notify(app: &App) -> Result<usize, SweepError> {
    let mut published = 0;
    for notice in notices::next(&app.db, MAX_NOTICES).await? {
        if let Some(topic) = &app.topic {
            let subject = match notice.event_type {
                EventType::SubscriptionDisabled => "SMS: a subscription was disabled",
                _ => "SMS: a subscription fails and will be disabled",
            };
            topic.publish(subject, &notice.body).await?;
            published += 1;
        }
        notices::advance(&app.db, notice.position).await?;
    }
    Ok(published)
}

/// Sends hints for due streams that have neither a hint nor a worker.
async fn hint(app: &App, until: Instant) -> Result<usize, SweepError> {
    let mut hinted = 0;
    loop {
        let due = app.hints.due(&app.db, PAGE).await?;
        hinted += app.hints.send(&app.db, &due).await?;
        if due.len() < PAGE as usize || Instant::now() >= until {
            break;
        }
    }
    telemetry::count(Metric::StreamsHinted, hinted);
    Ok(hinted)
}

async fn tidy(app: &App) -> Result<(), SweepError> {
    deliveries::forget_secrets(&app.db, clock::now()).await?;
    Ok(deliveries::end_replays(&app.db).await?)
}

async fn report(app: &App) -> Result<usize, SweepError> {
    let undelivered = deliveries::undelivered(&app.db).await?;
    telemetry::record(Metric::EventsUndelivered, undelivered as f64);
    Ok(usize::try_from(undelivered).unwrap_or_default())
}
