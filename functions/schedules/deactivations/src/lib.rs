//! Every day: reads Twilio's lists of deactivated US numbers. Sends to such a number are refused until it writes to us
//! or is opted in.
//!
//! Twilio has a list for each day, which appears some time after the day. A run reads the lists of the last days that
//! were not read yet, the oldest first, so that a missed run is caught up. A list is read while it arrives: its numbers
//! go to Postgres in chunks, and those that have a conversation are marked (`sms_deactivate_numbers`), with an event
//! each.
//!
//! Reads Twilio, reads and writes Postgres. A list that breaks off, or that takes longer than the run may, is read
//! again by the next run. Repeated and concurrent runs are safe: a number is marked once. A list that cannot be read
//! does not stop the others; then the invocation fails, which raises the alarm on errors.

use common::clock;
use common::config::{Configuration, Env};
use common::db::deactivations::{self, ListRead};
use common::db::{DatabaseConfig, Db, DbError};
use common::error::chain;
use common::service::lookup::InitError;
use common::service::parts::{self, PartTimedOut};
use common::telemetry::{self, Metric};
use common::twilio::{DeactivationLists, ListError, TwilioConfig};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How many numbers are sent to Postgres at a time.
const CHUNK: usize = 1_000;

/// Configuration, read from the environment: [`DatabaseConfig`], [`TwilioConfig::for_messaging`], and
///
/// - `DEACTIVATIONS_DAYS` (7): the lists of how many days before today are read.
/// - `DEACTIVATIONS_BUDGET_SECONDS` (240): how long a run may take. It begins no work in the second half of it. It must
///   be less than the function's timeout.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    twilio: TwilioConfig,
    days: i64,
    budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let twilio = TwilioConfig::for_messaging(env);
        let days = env.number("DEACTIVATIONS_DAYS", 1..=30, 7);
        let budget = env.seconds("DEACTIVATIONS_BUDGET_SECONDS", 1..=840, 240);
        Some(Self { database: database?, twilio: twilio?, days: i64::try_from(days?).ok()?, budget: budget? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
    lists: DeactivationLists,
}

impl App {
    /// Builds the clients without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] if the configuration is invalid. An unavailable service is not an error.
    pub fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let lists = DeactivationLists::new(config.twilio.clone())?;
        Ok(Self { config, db, lists })
    }
}

/// A run failed. The numbers that it marked stay marked, and the next run reads the lists that are missing.
#[derive(Debug, thiserror::Error)]
pub enum DeactivationsError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A list could not be read.
    #[error(transparent)]
    List(#[from] ListError),
    /// No line of a list is a number: it may be no list, or have another format.
    #[error("none of the {0} lines of a list is a number")]
    NoNumbers(usize),
    /// The run was stopped at the end of its time.
    #[error(transparent)]
    TimedOut(#[from] PartTimedOut),
    /// Lists could not be read. Each was logged.
    #[error("could not read the lists of {0} days")]
    Days(usize),
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The days whose lists were read to their end.
    read: Vec<Date>,
    /// The days without a list so far.
    missing: Vec<Date>,
    /// The numbers of all lists.
    numbers: i64,
    /// The lines that are no numbers.
    malformed: usize,
    /// The conversations that were marked.
    marked: i64,
    /// Whether lists are left for the next run, because the time is over.
    unfinished: bool,
}

/// Reads the lists that were not read yet.
///
/// # Errors
///
/// [`DeactivationsError`]. A retry is safe.
pub async fn handle(app: &App) -> Result<Summary, DeactivationsError> {
    parts::run(app.config.budget, async |until| read_lists(app, until).await).await
}

async fn read_lists(app: &App, until: Instant) -> Result<Summary, DeactivationsError> {
    let today = clock::now().to_zoned(TimeZone::UTC).date();
    let first = today.saturating_sub(app.config.days.days());
    let known = deactivations::read_days(&app.db, first).await?;
    let mut summary = Summary::default();
    let mut failures = 0;
    for day in first.series(1.day()).take_while(|day| *day < today).filter(|day| !known.contains(day)) {
        if Instant::now() >= until {
            summary.unfinished = true;
            break;
        }
        match read_list(app, day, until, &mut summary).await {
            Ok(()) => {}
            // The other days would fail too.
            Err(DeactivationsError::Db(error)) => return Err(error.into()),
            Err(error) => {
                failures += 1;
                telemetry::count_error("part_failed");
                tracing::error!(%day, error = chain(&error), "could not read a list of deactivated numbers");
            }
        }
    }
    let Summary { read, missing, numbers, marked, unfinished, .. } = &summary;
    let (read, missing) = (read.len(), missing.len());
    if read + missing > 0 || *unfinished {
        tracing::info!(read, missing, numbers, marked, unfinished, "lists of deactivated numbers read");
    }
    if failures > 0 { Err(DeactivationsError::Days(failures)) } else { Ok(summary) }
}

/// Reads the list of a day and marks its numbers.
async fn read_list(
    app: &App,
    day: Date,
    until: Instant,
    summary: &mut Summary,
) -> Result<(), DeactivationsError> {
    let Some(mut list) = app.lists.open(day).await? else {
        summary.missing.push(day);
        return Ok(());
    };
    let (mut read, mut malformed, mut is_last) = (ListRead::default(), 0, false);
    while !is_last {
        if Instant::now() >= until {
            summary.unfinished = true;
            return Ok(());
        }
        let page = list.page(CHUNK).await?;
        is_last = page.is_last;
        malformed += page.malformed;
        if page.numbers.is_empty() {
            continue;
        }
        read.numbers += page.numbers.len() as i64;
        let account_sid = app.config.twilio.account_sid();
        let marked = deactivations::mark(&app.db, account_sid, day, &page.numbers, clock::now()).await?;
        telemetry::count(Metric::NumbersDeactivated, usize::try_from(marked).unwrap_or_default());
        read.marked += marked;
    }
    if malformed > 0 {
        if read.numbers == 0 {
            return Err(DeactivationsError::NoNumbers(malformed));
        }
        tracing::warn!(%day, malformed, "lines of a list of deactivated numbers are no numbers");
    }
    deactivations::finish(&app.db, day, read, clock::now()).await?;
    summary.read.push(day);
    summary.numbers += read.numbers;
    summary.malformed += malformed;
    summary.marked += read.marked;
    Ok(())
}
