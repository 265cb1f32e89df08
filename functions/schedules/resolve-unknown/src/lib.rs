//! Every minute: finds out whether Twilio accepted the messages whose create request had no response.
//!
//! For each `unknown` message, Twilio's list of messages to its recipient is read. A candidate is a listed message from
//! the same sender, created around the time of the attempt, whose SID does not belong to a message or attempt of ours.
//!
//! - A candidate has the same content: the message gets its SID and status, as from a status callback.
//! - Only other candidates exist: the result is undecided, and the message is looked for again. Twilio can change a
//!   body (Smart Encoding, redaction), so a different text proves nothing.
//! - Two lists have no candidate, and the second was read at least `UNKNOWN_RESOLVE_AFTER_SECONDS` after the end of the
//!   attempt: Twilio did not process the message. It is sent again, or fails if it is too old.
//! - The result is undecided, or Twilio's lists cannot be read, for `UNKNOWN_PARK_AFTER_SECONDS`: the message is parked
//!   for an operator (`manage-sends`), with an event and an alarm.
//!
//! Reads and writes Postgres, reads Twilio. Repeated and concurrent runs are safe: a run claims its messages, and a
//! result is stored only if the message has not changed.

use common::clock;
use common::config::{Configuration, Env};
use common::db::sends::{self, Absence, Search, Unresolved};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::delivery_failure::FailurePolicy;
use common::domain::phone::E164;
use common::domain::sender::Sender;
use common::service::lookup::{InitError, Lookup, LookupError, Missing, Presence};
use common::telemetry::{self, Metric};
use common::twilio::{ExpectedMessage, RenewalPolicy, TwilioClient, TwilioConfig};
use futures::StreamExt;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// How many messages are claimed at a time.
const PAGE: i64 = 100;
/// How many lists are read concurrently.
const CONCURRENCY: usize = 4;
/// How long a run claims messages, so that it ends within its timeout. The next run continues.
const BUDGET: Duration = Duration::from_secs(30);
/// The maximum duration of a claim, after which another run may claim the message.
const LEASE: Duration = Duration::from_secs(60);
/// How long after the end of an attempt Twilio may still create its message: messages created later are no candidates.
/// Far longer than a request can be in flight; equal to the default of `UNKNOWN_RESOLVE_AFTER_SECONDS`.
const CREATED_WITHIN: Duration = Duration::from_secs(900);

/// Configuration, read from the environment: [`DatabaseConfig`], [`TwilioConfig`], [`RenewalPolicy`],
/// `UNKNOWN_RESOLVE_AFTER_SECONDS` (900) and `UNKNOWN_PARK_AFTER_SECONDS` (86 400).
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    twilio: TwilioConfig,
    renewals: RenewalPolicy,
    times: Times,
}

/// How long after an attempt a message may be resolved or parked.
#[derive(Debug, Clone, Copy)]
struct Times {
    resolve_after: Duration,
    park_after: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let twilio = TwilioConfig::from_env(env);
        let renewals = RenewalPolicy::from_env(env);
        let resolve_after = env.seconds("UNKNOWN_RESOLVE_AFTER_SECONDS", 1..=86_400, 900);
        let park_after = env.seconds("UNKNOWN_PARK_AFTER_SECONDS", 1..=2_592_000, 86_400);
        Some(Self {
            database: database?,
            twilio: twilio?,
            renewals: renewals?,
            times: Times { resolve_after: resolve_after?, park_after: park_after? },
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
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let twilio = TwilioClient::new(config.twilio.clone())?;
        Ok(Self { config, db, twilio })
    }
}

/// A run failed in part. The next run continues.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Lookups failed. Each was logged.
    #[error("could not look for the messages to {0} recipients")]
    Lookups(usize),
}

/// The results of a run.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resolved {
    found: usize,
    sent_again: usize,
    too_late: usize,
    waiting: usize,
    parked: usize,
}

/// Looks for all due messages until the time budget is used.
///
/// # Errors
///
/// [`ResolveError`], after all messages have been tried.
pub async fn handle(app: &App) -> Result<Resolved, ResolveError> {
    let begun = Instant::now();
    // With the default of 900 seconds this is a minute, the interval of the schedule.
    let lease = LEASE.min(app.config.times.resolve_after / 15).max(Duration::from_secs(1));
    let mut total = Resolved::default();
    let mut failures = 0;
    loop {
        let now = clock::now();
        let taken = sends::take_unresolved(&app.db, now, now + lease, PAGE).await?;
        let is_last = taken.len() < PAGE as usize;
        let groups = by_recipient(taken);
        let outcomes = futures::stream::iter(groups.values().map(|group| resolve(app, group, begun)))
            .buffer_unordered(CONCURRENCY)
            .collect::<Vec<_>>()
            .await;
        for (resolved, is_failure) in outcomes {
            total.add(&resolved);
            failures += usize::from(is_failure);
        }
        if is_last || begun.elapsed() >= BUDGET {
            break;
        }
    }
    telemetry::count(Metric::SendsResolved, total.found + total.sent_again + total.too_late);
    telemetry::count(Metric::SendsParked, total.parked);
    if failures > 0 { Err(ResolveError::Lookups(failures)) } else { Ok(total) }
}

impl Resolved {
    fn add(&mut self, other: &Self) {
        self.found += other.found;
        self.sent_again += other.sent_again;
        self.too_late += other.too_late;
        self.waiting += other.waiting;
        self.parked += other.parked;
    }
}

/// Messages by recipient and sender, in order of creation. Each group needs one list.
type Groups = BTreeMap<(E164, Sender), Vec<Unresolved>>;

fn by_recipient(taken: Vec<Unresolved>) -> Groups {
    let mut groups = Groups::new();
    for unresolved in taken {
        let key = (unresolved.to.clone(), unresolved.sender.clone());
        groups.entry(key).or_default().push(unresolved);
    }
    groups
}

/// Looks for the messages of one group and returns whether that failed. Does nothing after the time budget is used.
async fn resolve(app: &App, group: &[Unresolved], begun: Instant) -> (Resolved, bool) {
    let mut resolved = Resolved::default();
    if begun.elapsed() >= BUDGET {
        return (resolved, false);
    }
    let outcome = match look(app, group, &mut resolved).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::error!(error = common::error::chain(&error), "could not look for unknown sends");
            park(app, group.iter(), &mut resolved).await.map_err(LookupError::from).and(Err(error))
        }
    };
    (resolved, outcome.is_err())
}

async fn look(app: &App, group: &[Unresolved], resolved: &mut Resolved) -> Result<(), LookupError> {
    let Some(first) = group.first() else { return Ok(()) };
    let missing: Vec<Missing> = group.iter().map(missing).collect();
    let search = Search {
        listed_at: clock::now(),
        proves_after: app.config.times.resolve_after,
        max_age: app.config.renewals.max_age(),
    };
    let lookup = Lookup { db: &app.db, twilio: &app.twilio, renewals: &app.config.renewals };
    let presences = lookup.find(&first.to, &first.sender, &missing).await?;
    for (unresolved, presence) in group.iter().zip(&presences) {
        let span = telemetry::request(&unresolved.request_id);
        resolve_one(app, unresolved, presence, search, resolved).instrument(span).await?;
    }
    let undecided = group.iter().zip(&presences).filter(|(_, presence)| **presence == Presence::Undecided);
    park(app, undecided.map(|(unresolved, _)| unresolved), resolved).await?;
    Ok(())
}

fn missing(unresolved: &Unresolved) -> Missing {
    Missing {
        message_id: unresolved.message_id,
        sought: ExpectedMessage {
            to: unresolved.to.clone(),
            sender: unresolved.sender.clone(),
            body: unresolved.message_content.clone(),
            num_media: usize::try_from(unresolved.num_media).unwrap_or_default(),
            since: unresolved.started_at,
            until: unresolved.ended_at + CREATED_WITHIN,
        },
        is_attempted: true,
    }
}

async fn resolve_one(
    app: &App,
    unresolved: &Unresolved,
    presence: &Presence,
    search: Search,
    resolved: &mut Resolved,
) -> Result<(), DbError> {
    let message_id = unresolved.message_id;
    match presence {
        Presence::Adopted { twilio_sid } => {
            resolved.found += 1;
            tracing::info!(%message_id, %twilio_sid, "unknown message found at Twilio");
        }
        Presence::Undecided => {
            resolved.waiting += 1;
            tracing::info!(%message_id, "unknown message undecided, similar message at Twilio");
        }
        Presence::Absent => match sends::absent(&app.db, unresolved, search, clock::now()).await? {
            Absence::Noted => resolved.waiting += 1,
            Absence::SentAgain => {
                resolved.sent_again += 1;
                tracing::info!(%message_id, "unknown message not found at Twilio, sending again");
            }
            Absence::TooLate => {
                resolved.too_late += 1;
                tracing::warn!(%message_id, "unknown message not found at Twilio, expired");
            }
        },
    }
    Ok(())
}

/// Parks the messages that have been unresolved for too long.
async fn park(
    app: &App,
    undecided: impl Iterator<Item = &Unresolved>,
    resolved: &mut Resolved,
) -> Result<(), DbError> {
    let now = clock::now();
    let expired = undecided.filter(|unresolved| unresolved.ended_at + app.config.times.park_after <= now);
    let ids: Vec<_> = expired.map(|unresolved| unresolved.message_id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    for message_id in sends::park(&app.db, &ids, now).await? {
        resolved.parked += 1;
        tracing::error!(%message_id, "message parked for an operator");
    }
    Ok(())
}
