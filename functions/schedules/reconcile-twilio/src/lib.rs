//! Every hour: compares with what Twilio has for the last days, both ways.
//!
//! - `list`: inbound messages that never reached us are recorded, with their own time, language and wish to opt out, marked as
//!   `reconciled` in their raw data. A webhook that comes later all the same is a duplicate. Statuses that never came are
//!   filled in, as their callbacks would have.
//! - `unsent`: messages that Twilio has not sent, as far as we know, are fetched one by one, as the list leaves them out.
//! - `media`: messages with media are recorded once their media are listed.
//!
//! Reads Twilio, reads and writes Postgres. Safe at any time, over any window, twice and side by side. Each part has its own
//! share of the run's time and its own cursor, and runs even if another fails. A part that runs out of time saves where it is,
//! and the next run continues there. A single message that Twilio fails to return does not stop the others.
//!
//! | payload | window |
//! |---|---|
//! | `{}` | the last `RECONCILE_WINDOW_SECONDS`, without the last `RECONCILE_GRACE_SECONDS` |
//! | `{"since", "until"}` | as given; if Twilio fails, or time runs out, the schedule continues with it |

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
use common::telemetry::{self, Metric};
use common::twilio::{RenewalPolicy, SendError, TwilioClient, TwilioConfig};
use jiff::Timestamp;
use lookup::InitError;
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// The parts' shares of the run's time. A part begins calls during the first half of its share, and is stopped at the end.
const LIST: u32 = 60;
const UNSENT: u32 = 30;
const MEDIA: u32 = 20;

/// What the function is told by its environment: what [`DatabaseConfig`], [`TwilioConfig`] and [`RenewalPolicy`] read,
/// `RECONCILE_WINDOW_SECONDS` (172 800): how far back a run looks, `RECONCILE_GRACE_SECONDS` (30): how young a
/// message may be whose webhook is still waited for, and `RECONCILE_BUDGET_SECONDS` (110): how long a run may take, which
/// must be less than its timeout.
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

/// What is built once and borrowed by every run.
#[derive(Debug)]
pub struct App {
    db: Db,
    twilio: TwilioClient,
    renewals: RenewalPolicy,
    window: Duration,
    grace: Duration,
    budget: Duration,
}

impl App {
    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`InitError`] when Postgres or Twilio can't be spoken to at all. Their being away is no error.
    pub fn init(config: Config) -> Result<Self, InitError> {
        Ok(Self {
            db: Db::new(&config.database)?,
            twilio: TwilioClient::new(config.twilio)?,
            renewals: config.renewals,
            window: config.window,
            grace: config.grace,
            budget: config.budget,
        })
    }
}

/// Why a run did not get to its end; what it did stays done.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The payload can't be taken as it is.
    #[error("the payload is not valid: {}", sentences(.0))]
    Invalid(ValidationError),
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Twilio did not return its messages.
    #[error("reading Twilio's messages")]
    Twilio(#[from] SendError),
    /// A part was stopped at the end of its time.
    #[error("it did not end within {} ms", .0.as_millis())]
    TooSlow(Duration),
    /// Some parts failed; each was logged.
    #[error("{0} of the reconciliation's parts failed")]
    Parts(usize),
}

impl From<ValidationError> for ReconcileError {
    fn from(error: ValidationError) -> Self {
        Self::Invalid(error)
    }
}

fn sentences(error: &ValidationError) -> String {
    let sentences: Vec<String> =
        error.fields().iter().map(|problem| format!("{} {}", problem.field, problem.reason)).collect();
    sentences.join("; ")
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Messages that Twilio listed.
    listed: usize,
    /// Inbound messages that were not stored before.
    inbound_recovered: usize,
    /// Statuses that were not known before.
    statuses_recovered: usize,
    /// Messages that Twilio failed to return, or whose media it failed to list: a later run tries again.
    set_aside: usize,
    /// Whether there is more, which the next run does.
    unfinished: bool,
}

/// Runs all parts once.
///
/// # Errors
///
/// [`ReconcileError::Invalid`], or [`ReconcileError::Parts`] after all parts have been tried; running it again is always safe.
pub async fn handle(app: &App, payload: Value) -> Result<Reconciled, ReconcileError> {
    let named = window::named(payload)?;
    let begun = clock::now();
    let own = named.unwrap_or(Window { since: begun - app.window, until: begun - app.grace });
    let mut run = Run { app, own, is_named: named.is_some(), begun, reconciled: Reconciled::default() };
    let outcomes = [
        ("list", limited(app, LIST, async |until| run.windows(Part::List, until).await).await),
        ("unsent", limited(app, UNSENT, async |until| run.windows(Part::Unsent, until).await).await),
        ("media", limited(app, MEDIA, async |until| media::store(&mut run, until).await).await),
    ];
    let reconciled = run.reconciled;
    telemetry::count(Metric::InboundRecovered, reconciled.inbound_recovered);
    telemetry::count(Metric::StatusesRecovered, reconciled.statuses_recovered);
    let mut failures = 0;
    for (part, outcome) in outcomes {
        if let Err(error) = outcome {
            failures += 1;
            tracing::error!(
                part,
                error = common::error::chain(&error),
                "a part of the reconciliation failed"
            );
        }
    }
    if failures > 0 { Err(ReconcileError::Parts(failures)) } else { Ok(reconciled) }
}

/// Runs a part for at most its share of the time. The part gets the time until which it may begin calls.
async fn limited(
    app: &App,
    share: u32,
    part: impl AsyncFnOnce(Instant) -> Result<(), ReconcileError>,
) -> Result<(), ReconcileError> {
    let share = app.budget * share / (LIST + UNSENT + MEDIA);
    let outcome = tokio::time::timeout(share, part(Instant::now() + share / 2)).await;
    outcome.unwrap_or(Err(ReconcileError::TooSlow(share)))
}

/// Whether a failure is not about the message or page that was asked for: other calls would fail the same way.
fn concerns_all(error: &SendError) -> bool {
    match error {
        SendError::Connect(_) | SendError::TokenRefused | SendError::Limited { .. } => true,
        SendError::Refused { status, .. } => matches!(status, 401 | 403),
        SendError::Failed { .. } | SendError::NoAnswer(_) | SendError::Unreadable { .. } => false,
    }
}

/// One run.
struct Run<'a> {
    app: &'a App,
    /// The window of this run.
    own: Window,
    /// Whether a person named it.
    is_named: bool,
    begun: Timestamp,
    reconciled: Reconciled,
}

/// Whether a cursor is saved when a window is not completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Nothing else covers the window.
    Always,
    /// Later windows cover it, but they should not all begin at the same end.
    OnceBegun,
    /// Another cursor is behind already: one more would only add to that.
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
    /// Continues with the windows that earlier runs did not complete, in the first half of the time, then does its own. A
    /// window that fails does not stop another.
    async fn windows(&mut self, part: Part, until: Instant) -> Result<(), ReconcileError> {
        let mut failure = None;
        let mut is_behind = false;
        // A person who names a window wants that one.
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
        // The list begins with the newest messages, so its first page is worth reading even when older ones wait.
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

    /// Works on a window until a time, and returns whether it is complete.
    async fn window(&mut self, cursor: Cursor, keep: Keep, until: Instant) -> Result<bool, ReconcileError> {
        match cursor.part {
            Part::List => list::read(self, cursor, keep, until).await,
            Part::Unsent => unsent::fetch(self, cursor, keep, until).await,
        }
    }
}
