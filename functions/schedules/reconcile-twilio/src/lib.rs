//! Every hour: compares our messages with Twilio's for the last days.
//!
//! - `list`: stores inbound messages whose webhook never arrived, with their original time, language and opt-out,
//!   marked as `reconciled` in their raw data. A webhook that arrives later is a duplicate. Also stores missing
//!   statuses.
//! - `unsent`: fetches single messages that Twilio has not sent, as far as we know. The list does not contain them.
//! - `media`: stores inbound messages with media after listing their media.
//!
//! Reads Twilio, reads and writes Postgres. Repeated and concurrent runs over any window are safe. Each part has its
//! own share of the run's time and its own cursor, and runs even if another fails. A part that runs out of time saves
//! its position, and the next run continues there. A message that Twilio fails to return does not stop the others.
//!
//! | payload | window |
//! |---|---|
//! | `{}` | the last `RECONCILE_WINDOW_SECONDS`, without the last `RECONCILE_GRACE_SECONDS` |
//! | `{"since", "until"}` | as given; if Twilio fails or time runs out, scheduled runs continue |

mod list;
mod media;
mod page;
mod unsent;
mod window;

use common::clock;
use common::config::{Configuration, Env};
use common::db::reconciliation::{self, Cursor, Part, Window};
use common::db::{DatabaseConfig, Db, DbError};
use common::http::ValidationError;
use common::service::lookup::InitError;
use common::service::parts::{self, PartTimedOut};
use common::telemetry::{self, Metric};
use common::twilio::{RenewalPolicy, SendError, TwilioClient, TwilioConfig};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// The parts' shares of the run's time, see [`parts::run`].
const LIST: u32 = 60;
const UNSENT: u32 = 30;
const MEDIA: u32 = 20;

/// Configuration, read from the environment: [`DatabaseConfig`], [`TwilioConfig`], [`RenewalPolicy`], and
///
/// - `RECONCILE_WINDOW_SECONDS` (172 800): how far back a run looks.
/// - `RECONCILE_GRACE_SECONDS` (30): the minimum age of messages, since webhooks of younger ones may still arrive.
/// - `RECONCILE_BUDGET_SECONDS` (110): how long a run may take. It must be less than the function's timeout.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    twilio: TwilioConfig,
    renewals: RenewalPolicy,
    window: Duration,
    grace: Duration,
    budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let twilio = TwilioConfig::from_env(env);
        let renewals = RenewalPolicy::from_env(env);
        let window = env.seconds("RECONCILE_WINDOW_SECONDS", 1..=2_592_000, 172_800);
        let grace = env.seconds("RECONCILE_GRACE_SECONDS", 0..=86_400, 30);
        let budget = env.seconds("RECONCILE_BUDGET_SECONDS", 1..=840, 110);
        Some(Self {
            database: database?,
            twilio: twilio?,
            renewals: renewals?,
            window: window?,
            grace: grace?,
            budget: budget?,
        })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
    twilio: TwilioClient,
}

impl App {
    /// Builds the clients without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] if the configuration is invalid. An unavailable service is not an error.
    pub fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let twilio = TwilioClient::new(config.twilio.clone())?;
        Ok(Self { config, db, twilio })
    }
}

/// A run failed. What it stored stays stored.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The payload is invalid.
    #[error("invalid payload: {}", .0.sentences())]
    Invalid(ValidationError),
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Twilio did not return messages.
    #[error("could not read messages from Twilio")]
    Twilio(#[from] SendError),
    /// A part was stopped at the end of its share.
    #[error(transparent)]
    TimedOut(#[from] PartTimedOut),
    /// Some parts failed; each was logged.
    #[error("{0} parts of the reconciliation failed")]
    Parts(usize),
}

impl From<ValidationError> for ReconcileError {
    fn from(error: ValidationError) -> Self {
        Self::Invalid(error)
    }
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Messages that Twilio listed.
    listed: usize,
    /// Inbound messages that were missing.
    inbound_recovered: usize,
    /// Statuses that were missing.
    statuses_recovered: usize,
    /// Messages that Twilio failed to return, or whose media it failed to list. A later run retries them.
    set_aside: usize,
    /// Whether work is left for the next run.
    unfinished: bool,
}

/// Runs all parts once.
///
/// # Errors
///
/// [`ReconcileError::Invalid`], or [`ReconcileError::Parts`] after all parts have run. Retrying is safe.
pub async fn handle(app: &App, payload: Value) -> Result<Reconciled, ReconcileError> {
    let named = window::named(payload)?;
    let begun = clock::now();
    let own = named.unwrap_or(Window { since: begun - app.config.window, until: begun - app.config.grace });
    let mut run = Run { app, own, is_named: named.is_some(), begun, reconciled: Reconciled::default() };
    let outcomes = [
        ("list", parts::run(time(app, LIST), async |until| run.windows(Part::List, until).await).await),
        ("unsent", parts::run(time(app, UNSENT), async |until| run.windows(Part::Unsent, until).await).await),
        ("media", parts::run(time(app, MEDIA), async |until| media::store(&mut run, until).await).await),
    ];
    let reconciled = run.reconciled;
    telemetry::count(Metric::InboundRecovered, reconciled.inbound_recovered);
    telemetry::count(Metric::StatusesRecovered, reconciled.statuses_recovered);
    let mut failures = 0;
    for (part, outcome) in outcomes {
        if let Err(error) = outcome {
            failures += 1;
            telemetry::count_error("part_failed");
            tracing::error!(part, error = common::error::chain(&error), "reconciliation part failed");
        }
    }
    if failures > 0 { Err(ReconcileError::Parts(failures)) } else { Ok(reconciled) }
}

fn time(app: &App, share: u32) -> Duration {
    app.config.budget * share / (LIST + UNSENT + MEDIA)
}

/// Returns whether a failure does not depend on the requested message or page, so that other requests would also fail.
fn concerns_all(error: &SendError) -> bool {
    match error {
        SendError::Connect(_) | SendError::TokenRefused | SendError::Limited { .. } => true,
        SendError::Refused { status, .. } => matches!(status, 401 | 403),
        SendError::Failed { .. } | SendError::NoResponse(_) | SendError::Unreadable { .. } => false,
    }
}

/// One run.
struct Run<'a> {
    app: &'a App,
    /// The window of this run.
    own: Window,
    /// Whether an operator gave the window.
    is_named: bool,
    begun: Timestamp,
    reconciled: Reconciled,
}

/// When the cursor of an incomplete window is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Always: nothing else covers the window.
    Always,
    /// After the first page: later windows cover the rest, but they must not all read the same first pages.
    OnceBegun,
    /// Never: another cursor is unfinished, and one more would increase the backlog.
    Never,
}

impl Keep {
    async fn save(self, db: &Db, cursor: &Cursor) -> Result<(), DbError> {
        match self {
            Self::Never => Ok(()),
            Self::OnceBegun if cursor.position.is_none() => Ok(()),
            Self::Always | Self::OnceBegun => reconciliation::save(db, cursor, clock::now()).await,
        }
    }
}

impl Run<'_> {
    /// Continues unfinished windows of earlier runs in the first half of the time, then works on this run's window. A
    /// failed window does not stop another.
    async fn windows(&mut self, part: Part, until: Instant) -> Result<(), ReconcileError> {
        let mut failure = None;
        let mut is_behind = false;
        // An operator's run works on the given window only.
        if !self.is_named {
            let half = Instant::now() + until.saturating_duration_since(Instant::now()) / 2;
            while let Some(cursor) = reconciliation::unfinished(&self.app.db, part, self.begun).await? {
                if Instant::now() >= half {
                    is_behind = true;
                    break;
                }
                match self.window(cursor, Keep::Always, half).await {
                    Ok(is_complete) => is_behind |= !is_complete,
                    Err(error) => {
                        is_behind = true;
                        let is_single =
                            matches!(&error, ReconcileError::Twilio(error) if !concerns_all(error));
                        failure.get_or_insert(error);
                        if !is_single {
                            break;
                        }
                    }
                }
            }
        }
        // The list starts with the newest messages, so its first page is useful even if older windows are unfinished.
        if self.own.since < self.own.until && (part == Part::List || !is_behind) {
            let keep = match (self.is_named, is_behind) {
                (true, _) => Keep::Always,
                (false, false) => Keep::OnceBegun,
                (false, true) => Keep::Never,
            };
            match self.window(Cursor::start(part, self.own), keep, until).await {
                Ok(is_complete) => is_behind |= !is_complete,
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        self.reconciled.unfinished |= is_behind;
        failure.map_or(Ok(()), Err)
    }

    /// Works on a window until the given time and returns whether it is complete.
    async fn window(&mut self, cursor: Cursor, keep: Keep, until: Instant) -> Result<bool, ReconcileError> {
        match cursor.part {
            Part::List => list::read(self, cursor, keep, until).await,
            Part::Unsent => unsent::fetch(self, cursor, keep, until).await,
        }
    }
}
