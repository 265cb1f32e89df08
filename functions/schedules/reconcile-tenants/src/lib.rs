//! Every minute: looks up the numbers that are due in the Monitor, and retries updates of tenant profiles.
//!
//! - numbers that were never looked up, because SQS or the Monitor was unavailable;
//! - numbers without a tenant, at growing intervals, to find late matches;
//! - numbers with a tenant, to confirm the tenant;
//! - tenants whose languages were not settled, for example because a function died.
//!
//! A late match updates the conversation and stores an event, as `identify-tenant` does. Concurrent and repeated runs
//! are safe: a check is claimed before the lookup.

use common::clock;
use common::config::{Configuration, Env};
use common::db::DbError;
use common::db::tenants::{self, Checked};
use common::domain::ids::ConversationId;
use common::monitor::MonitorClient;
use common::service::identify::{
    Identifier, IdentifierConfig, InitError, LEASE, LookupResults, NumberToCheck,
};
use common::telemetry;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How many numbers are claimed at a time: twice the concurrency of [`Identifier::look_up`], so that the lookups of a
/// page end before its claims expire.
const PAGE: i64 = 20;

/// How long a run starts new pages, so that it ends within its timeout even if every lookup takes its whole budget.
const START_WITHIN: Duration = Duration::from_secs(20);

/// The maximum number of tenants whose languages a run settles.
const MAX_SETTLED: i64 = 500;

/// The maximum number of profiles that a run updates.
const MAX_PROFILES: i64 = 50;

/// Configuration, read from the environment: [`IdentifierConfig`], and
///
/// - `TENANT_CHECKS_PER_RUN` (500): the maximum number of numbers that a run looks up.
/// - `TENANT_GRACE_SECONDS` (120): how long new conversations and languages are left to `identify-tenant`.
#[derive(Debug, Clone)]
pub struct Config {
    identifier: IdentifierConfig,
    per_run: usize,
    grace: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let identifier = IdentifierConfig::from_env(env);
        let per_run = env.number("TENANT_CHECKS_PER_RUN", 1..=100_000, 500);
        let grace = env.seconds("TENANT_GRACE_SECONDS", 0..=86_400, 120);
        Some(Self {
            identifier: identifier?,
            per_run: usize::try_from(per_run?).unwrap_or(usize::MAX),
            grace: grace?,
        })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    identifier: Identifier,
}

impl App {
    /// Builds the clients and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] if the configuration is invalid. An unavailable service is not an error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let identifier = Identifier::init(config.identifier.clone()).await?;
        Ok(Self { config, identifier })
    }
}

/// Some parts of a run failed. The next run retries them.
#[derive(Debug, thiserror::Error)]
#[error("{0} parts of the run failed")]
pub struct PartsFailed(usize);

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Numbers that were looked up.
    looked_up: usize,
    /// Numbers that have a tenant.
    identified: usize,
    /// Tenants whose languages were settled late.
    settled: usize,
    /// Profiles that were updated.
    profiles_updated: usize,
}

/// Looks up due numbers, settles languages, and updates profiles. Each part runs even if another fails.
///
/// A failed lookup does not fail the run: it is counted in `tenant_lookups_failed` and retried later.
///
/// # Errors
///
/// [`PartsFailed`] if Postgres failed in a part.
pub async fn handle(app: &App, request_id: &str) -> Result<Reconciled, PartsFailed> {
    let mut done = Reconciled::default();
    let mut failures = 0;
    let mut failed = |part: &'static str, error: &DbError| {
        telemetry::count_error("part_failed");
        tracing::error!(part, error = common::error::chain(error), "tenant reconciliation part failed");
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
    match app.identifier.update_profiles(None, MAX_PROFILES).await {
        Ok(updated) => done.profiles_updated = updated,
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
    // Numbers that become due during the run are left to the next one; short intervals would cause repeated lookups.
    let (begun, begun_at) = (Instant::now(), clock::now());
    while done.looked_up < app.config.per_run && begun.elapsed() < START_WITHIN {
        let limit = PAGE.min(i64::try_from(app.config.per_run - done.looked_up).unwrap_or(PAGE));
        let due = tenants::take_due(
            app.identifier.db(),
            begun_at,
            begun_at - app.config.grace,
            clock::now() + LEASE,
            limit,
        )
        .await?;
        let (taken, limit) = (due.len(), usize::try_from(limit).unwrap_or(usize::MAX));
        done.looked_up += taken;
        page(app, monitor, request_id, due, done).await?;
        // The numbers of an unavailable Monitor were released, so the next page would contain them again.
        if taken < limit || !monitor.is_available() {
            break;
        }
    }
    Ok(())
}

/// A claimed check, and when it was due.
type Due = (Checked, Option<Timestamp>);

async fn page(
    app: &App,
    monitor: &MonitorClient,
    request_id: &str,
    due: Vec<Due>,
    done: &mut Reconciled,
) -> Result<(), DbError> {
    let number = |checked: &Checked| NumberToCheck::new(checked, &checked.phone_number_original, request_id);
    let numbers = due.iter().map(|(checked, _)| number(checked)).collect();
    let results = app.identifier.look_up(monitor, numbers).await;
    let recorded = app.identifier.store(&results.found).await?;
    reschedule(app, &results, &due, monitor.is_available()).await?;
    let tenant_ids: BTreeSet<String> = recorded
        .into_iter()
        .filter_map(|outcome| outcome.tenant_id)
        .inspect(|_| done.identified += 1)
        .collect();
    let tenant_ids: Vec<String> = tenant_ids.into_iter().collect();
    app.identifier.settle_languages(&tenant_ids).await
}

/// Settles the languages that earlier invocations left unsettled.
async fn settle(app: &App) -> Result<usize, DbError> {
    let tenant_ids =
        tenants::unsettled(app.identifier.db(), clock::now() - app.config.grace, MAX_SETTLED).await?;
    if !tenant_ids.is_empty() {
        tracing::warn!(tenants = tenant_ids.len(), "settling pending tenant languages");
    }
    app.identifier.settle_languages(&tenant_ids).await?;
    Ok(tenant_ids.len())
}

/// Schedules the next lookup of numbers without a result. Failed numbers get a growing interval if the Monitor is
/// available. Skipped numbers keep their due time and so precede the failed ones; otherwise a few numbers that always
/// fail would open the circuit breaker at the start of each run and block all others.
async fn reschedule(
    app: &App,
    results: &LookupResults,
    due: &[Due],
    is_available: bool,
) -> Result<(), DbError> {
    let (db, now, retry) = (app.identifier.db(), clock::now(), app.identifier.retry());
    for (number, error) in &results.failed {
        let error = common::error::chain(error.as_ref());
        tracing::warn!(conversation_id = %number.conversation_id, error, "tenant lookup failed");
    }
    let failed: Vec<ConversationId> =
        results.failed.iter().map(|(number, _)| number.conversation_id).collect();
    let is_skipped = |id: ConversationId| results.skipped.iter().any(|number| number.conversation_id == id);
    let skipped: Vec<_> = due
        .iter()
        .map(|(checked, due_at)| (checked.conversation_id, *due_at))
        .filter(|(id, _)| is_skipped(*id))
        .collect();
    tenants::give_back(db, &failed, now, retry, is_available).await?;
    tenants::release(db, &skipped).await
}
