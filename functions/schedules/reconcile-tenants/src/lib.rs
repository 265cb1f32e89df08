//! Every minute: asks the Monitor about the numbers whose time has come, and tells profiles what they could not be told.
//!
//! - numbers that nobody has asked about: `[identify]` did not take them, or the Monitor was dead;
//! - numbers of nobody, ever more rarely, so that a late match is found;
//! - numbers of a tenant, to confirm that they still are;
//! - the languages of tenants that whoever was to settle them left undone, for whatever reason.
//!
//! A late match updates the same conversation, with its event, as `identify-tenant` would have. Running it at any time,
//! twice or side by side does no harm: a check is claimed before the Monitor is asked.

use common::clock;
use common::config::{Configuration, Env};
use common::db::DbError;
use common::db::tenants::{self, Checked};
use common::monitor::MonitorClient;
use identify::{Asked, Identifier, IdentifierConfig, InitError, LEASE, Number};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How many numbers are taken at a time: two rounds of the concurrency of [`Identifier::ask`], so that a claim is not
/// outlived by the lookups before it.
const PAGE: i64 = 20;

/// No page is begun later than this, so that a run ends within its timeout even when each lookup takes its whole budget.
const TIME_TO_BEGIN: Duration = Duration::from_secs(20);

/// How many conversations' tenants a run settles the languages of at most.
const SETTLED: i64 = 500;

/// How many profiles a run tells at most.
const PUSHES: i64 = 50;

/// What the function is told by its environment: what [`IdentifierConfig`] reads, `TENANT_CHECKS_PER_RUN` (500): how
/// many numbers a run asks about at most, and `TENANT_GRACE_SECONDS` (120): how long a new conversation, and new words
/// of a tenant, are left to `identify-tenant`.
#[derive(Debug, Clone)]
pub struct Config {
    identifier: IdentifierConfig,
    per_run: u64,
    grace: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let identifier = IdentifierConfig::from_env(env);
        let per_run = env.number("TENANT_CHECKS_PER_RUN", 1..=100_000, 500);
        let grace = env.seconds("TENANT_GRACE_SECONDS", 0..=86_400, 120);
        Some(Self { identifier: identifier?, per_run: per_run?, grace: grace? })
    }
}

/// What is built once and borrowed by every run.
#[derive(Debug)]
pub struct App {
    identifier: Identifier,
    per_run: usize,
    grace: Duration,
}

impl App {
    /// Builds it, and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] when a peer can't be spoken to at all. Its being away is no error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let identifier = Identifier::init(config.identifier).await?;
        let per_run = usize::try_from(config.per_run).unwrap_or(usize::MAX);
        Ok(Self { identifier, per_run, grace: config.grace })
    }
}

/// Why a part of a run was not done; the next run does it.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the run's parts failed")]
pub struct PartsFailed(usize);

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Numbers that the Monitor was asked about.
    asked: usize,
    /// Those of them that are a tenant's.
    identified: usize,
    /// Tenants whose languages had been left unsettled.
    settled: usize,
    /// Profiles that were told a language.
    profiles_told: usize,
}

/// Asks about what is due, settles what was left unsettled, then tells profiles, each even if another part failed.
///
/// A Monitor that fails is no failure of the run: `tenant_lookups_failed` counts it, and the numbers' time comes again.
///
/// # Errors
///
/// [`PartsFailed`] when Postgres did not do its part.
pub async fn handle(app: &App, request_id: &str) -> Result<Reconciled, PartsFailed> {
    let mut done = Reconciled::default();
    let mut failures = 0;
    let mut failed = |part: &'static str, error: &DbError| {
        tracing::error!(part, error = common::error::chain(error), "a part of the run failed");
        failures += 1;
    };
    if let Some(monitor) = app.identifier.monitor()
        && let Err(error) = check(app, monitor, request_id, &mut done).await
    {
        failed("checks", &error);
    }
    match settle(app).await {
        Ok(settled) => done.settled = settled,
        Err(error) => failed("languages", &error),
    }
    match app.identifier.tell_profiles(None, PUSHES).await {
        Ok(told) => done.profiles_told = told,
        Err(error) => failed("profiles", &error),
    }
    if failures > 0 { Err(PartsFailed(failures)) } else { Ok(done) }
}

async fn check(
    app: &App,
    monitor: &MonitorClient,
    request_id: &str,
    done: &mut Reconciled,
) -> Result<(), DbError> {
    // What becomes due meanwhile is the next run's: with short times a number would be asked about again and again.
    let (begun, begun_at) = (Instant::now(), clock::now());
    while done.asked < app.per_run && begun.elapsed() < TIME_TO_BEGIN {
        let limit = PAGE.min(i64::try_from(app.per_run - done.asked).unwrap_or(PAGE));
        let due = tenants::take_due(
            app.identifier.db(),
            begun_at,
            begun_at - app.grace,
            clock::now() + LEASE,
            limit,
        )
        .await?;
        let (taken, limit) = (due.len(), usize::try_from(limit).unwrap_or(usize::MAX));
        done.asked += taken;
        page(app, monitor, request_id, due, done).await?;
        // A dead Monitor's numbers have been given back: to take them again at once would go round in circles.
        if taken < limit || !monitor.is_alive() {
            break;
        }
    }
    Ok(())
}

/// A check that was taken, and when it was due.
type Due = (Checked, Option<Timestamp>);

async fn page(
    app: &App,
    monitor: &MonitorClient,
    request_id: &str,
    due: Vec<Due>,
    done: &mut Reconciled,
) -> Result<(), DbError> {
    let as_written = |checked: &Checked| Number::new(checked, &checked.phone_number_original, request_id);
    let asked =
        app.identifier.ask(monitor, due.iter().map(|(checked, _)| as_written(checked)).collect()).await;
    let recorded = app.identifier.keep(&asked.found).await?;
    give_back(app, &asked, &due, monitor.is_alive()).await?;
    let tenant_ids: BTreeSet<String> = recorded
        .into_iter()
        .filter_map(|outcome| outcome.tenant_id)
        .inspect(|_| done.identified += 1)
        .collect();
    let tenant_ids: Vec<String> = tenant_ids.into_iter().collect();
    app.identifier.settle_languages(&tenant_ids).await
}

/// Settles the languages of tenants that somebody was about to settle, and died, or never heard of.
async fn settle(app: &App) -> Result<usize, DbError> {
    let tenant_ids = tenants::unsettled(app.identifier.db(), clock::now() - app.grace, SETTLED).await?;
    if !tenant_ids.is_empty() {
        tracing::warn!(tenants = tenant_ids.len(), "languages had been left unsettled");
    }
    app.identifier.settle_languages(&tenant_ids).await?;
    Ok(tenant_ids.len())
}

/// Sets when the numbers that got no answer are asked about next: ever more rarely if it is about them, since the Monitor
/// answers to others. What was not asked about stays due, and so comes before what failed: some numbers by which the
/// Monitor fails would else open the breaker at the beginning of each run, and hold up all others for ever.
async fn give_back(app: &App, asked: &Asked, due: &[Due], is_alive: bool) -> Result<(), DbError> {
    let (db, now, retry) = (app.identifier.db(), clock::now(), app.identifier.retry());
    for (number, error) in &asked.failed {
        let error = common::error::chain(error.as_ref());
        tracing::warn!(conversation_id = %number.conversation_id, error, "the Monitor gave no answer");
    }
    let failed: Vec<Uuid> = asked.failed.iter().map(|(number, _)| number.conversation_id).collect();
    let is_unasked = |id: Uuid| asked.unasked.iter().any(|number| number.conversation_id == id);
    let unasked: Vec<_> = due
        .iter()
        .map(|(checked, due_at)| (checked.conversation_id, *due_at))
        .filter(|(id, _)| is_unasked(*id))
        .collect();
    tenants::give_back(db, &failed, now, retry, is_alive).await?;
    tenants::release(db, &unasked).await
}
