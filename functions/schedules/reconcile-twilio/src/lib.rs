//! Every hour: compares with what Twilio has for the last days, both ways.
//!
//! - Inbound messages that never reached us are recorded, with their own time, language and wish to opt out, marked as
//!   `reconciled` in their raw data. A webhook that comes later all the same is a duplicate.
//! - Statuses that never came are filled in, as their callbacks would have.
//!
//! Reads Twilio, reads and writes Postgres. Safe at any time, over any window, twice and side by side. A run that has no
//! time left notes where it is, and the next one goes on there first.
//!
//! | payload | window |
//! |---|---|
//! | `{}` | the last `RECONCILE_WINDOW_SECONDS`, without the last `RECONCILE_GRACE_SECONDS` |
//! | `{"since", "until"}` | as given |

mod page;
mod window;

use common::clock;
use common::config::{Configuration, Env};
use common::db::reconciliation::{self, Unfinished, Window};
use common::db::{DatabaseConfig, Db, DbError};
use common::http::ValidationError;
use common::telemetry::{self, Metric};
use common::twilio::{MessageFilter, RenewalPolicy, SendError, TwilioClient, TwilioConfig};
use lookup::InitError;
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a run goes on taking pages, so that it ends within its timeout.
const BUDGET: Duration = Duration::from_secs(80);
/// How many messages that Twilio has not sent yet are asked for one by one.
const MAX_ASKED: i64 = 200;

/// What the function is told by its environment: what [`DatabaseConfig`], [`TwilioConfig`] and [`RenewalPolicy`] read,
/// `RECONCILE_WINDOW_SECONDS` (172 800): how far back a run looks, and `RECONCILE_GRACE_SECONDS` (30): how young a
/// message may be whose webhook is still waited for.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    twilio: TwilioConfig,
    renewals: RenewalPolicy,
    window: Duration,
    grace: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let twilio = TwilioConfig::from_env(env);
        let renewals = RenewalPolicy::from_env(env);
        let window = env.seconds("RECONCILE_WINDOW_SECONDS", 1..=2_592_000, 172_800);
        let grace = env.seconds("RECONCILE_GRACE_SECONDS", 0..=86_400, 30);
        Some(Self {
            database: database?,
            twilio: twilio?,
            renewals: renewals?,
            window: window?,
            grace: grace?,
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
    /// Twilio did not list its messages.
    #[error("listing Twilio's messages")]
    Twilio(#[source] SendError),
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
    /// Whether there is more, which the next run does.
    unfinished: bool,
}

/// Goes on with what an earlier run left over, then goes through its own window.
///
/// # Errors
///
/// [`ReconcileError`]; running it again is always safe.
pub async fn handle(app: &App, payload: Value) -> Result<Reconciled, ReconcileError> {
    let begun = Instant::now();
    let named = window::named(payload)?;
    let now = clock::now();
    let own = named.unwrap_or(Window { since: now - app.window, until: now - app.grace });
    let mut reconciled = Reconciled::default();
    let outcome = run(app, own, named.is_some(), begun, &mut reconciled).await;
    telemetry::count(Metric::InboundRecovered, reconciled.inbound_recovered);
    telemetry::count(Metric::StatusesRecovered, reconciled.statuses_recovered);
    outcome.map(|()| reconciled)
}

async fn run(
    app: &App,
    own: Window,
    is_named: bool,
    begun: Instant,
    reconciled: &mut Reconciled,
) -> Result<(), ReconcileError> {
    // A person who names a window wants that one; the schedule first ends what it began.
    if !is_named {
        while let Some(unfinished) = reconciliation::unfinished(&app.db).await? {
            if !go_on(app, unfinished, begun, reconciled).await? {
                return Ok(());
            }
        }
    }
    ask_for_the_unsent(app, own, reconciled).await?;
    if own.since >= own.until {
        return Ok(());
    }
    let filter = MessageFilter {
        sent_since: Some(own.since),
        sent_until: Some(own.until),
        ..MessageFilter::default()
    };
    let page = app.twilio.list_messages(&filter).await.map_err(ReconcileError::Twilio)?;
    page::compare(app, &page.messages, reconciled).await?;
    if let Some(next_page) = page.next {
        go_on(app, Unfinished { window: own, next_page }, begun, reconciled).await?;
    }
    Ok(())
}

/// Goes on with a window, and tells whether it came to its end; otherwise the time is over, and the place is noted.
async fn go_on(
    app: &App,
    mut unfinished: Unfinished,
    begun: Instant,
    reconciled: &mut Reconciled,
) -> Result<bool, ReconcileError> {
    loop {
        if begun.elapsed() >= BUDGET {
            reconciled.unfinished = true;
            reconciliation::save(&app.db, &unfinished, clock::now()).await?;
            return Ok(false);
        }
        let page = match app.twilio.list_next(&unfinished.next_page).await {
            Ok(page) => page,
            // Twilio no longer knows the place: what is left of this window is in a later one's, as they overlap.
            Err(error @ SendError::Refused { .. }) => {
                tracing::warn!(error = common::error::chain(&error), "a window can't be gone on with");
                reconciliation::finished(&app.db, unfinished.window).await?;
                return Ok(true);
            }
            Err(error) => {
                reconciliation::save(&app.db, &unfinished, clock::now()).await?;
                return Err(ReconcileError::Twilio(error));
            }
        };
        page::compare(app, &page.messages, reconciled).await?;
        match page.next {
            Some(next_page) => unfinished.next_page = next_page,
            None => {
                reconciliation::finished(&app.db, unfinished.window).await?;
                return Ok(true);
            }
        }
    }
}

/// Asks for each message that Twilio has not sent yet, as far as we know: its list by time of sending leaves out those
/// that have no such time, among them what failed before it was sent.
async fn ask_for_the_unsent(
    app: &App,
    window: Window,
    reconciled: &mut Reconciled,
) -> Result<(), ReconcileError> {
    let mut found = Vec::new();
    for sid in reconciliation::not_sent_yet(&app.db, window, MAX_ASKED).await? {
        match app.twilio.fetch_message(&sid).await {
            Ok(message) => found.push(message),
            // Twilio has forgotten it, or never had it under our account: nothing is to be learnt of it.
            Err(SendError::Refused { .. }) => {}
            Err(error) => return Err(ReconcileError::Twilio(error)),
        }
    }
    page::compare(app, &found, reconciled).await.map_err(ReconcileError::from)
}
