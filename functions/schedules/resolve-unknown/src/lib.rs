//! Every minute: finds out whether Twilio took the messages whose create call was not answered.
//!
//! For each message that is `unknown`, Twilio's list of the messages to its recipient is read. A candidate is a message of
//! that list from the same sender, created around the time of the attempt, whose SID no message or attempt of ours has.
//! - A candidate has the same content: the message gets its SID and status, as if its callback had come.
//! - Another candidate is there: the outcome is undecided, and the message is looked for again. Bodies at Twilio change (Smart
//!   Encoding, redaction), so a different text proves nothing.
//! - Neither of two lists has a candidate, the second read `UNKNOWN_RESOLVE_AFTER_SECONDS` after the attempt ended or later:
//!   the message was not processed, and is sent again, or fails if its time is over.
//! - It is undecided, or Twilio's lists can't be read, for `UNKNOWN_PARK_AFTER_SECONDS`: the message is parked for an operator
//!   (`manage-sends`), with an event and an alarm.
//!
//! Reads and writes Postgres, reads Twilio. Running it at any time, twice or side by side does no harm: a run takes its
//! messages for itself, and every conclusion is drawn only if the message is what it was.

use common::clock;
use common::config::{Configuration, Env};
use common::db::sends::{self, Absence, Search, Unresolved};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::renewal::Renewals;
use common::telemetry::{self, Metric};
use common::twilio::{RenewalPolicy, Sender, Sought, TwilioClient, TwilioConfig};
use futures::StreamExt;
use lookup::{Finding, InitError, Lookup, LookupError, Missing};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// How many messages are taken at a time.
const PAGE: i64 = 100;
/// How many lists are read at a time.
const AT_ONCE: usize = 4;
/// How long a run goes on taking messages, so that it ends within its timeout; the next run goes on.
const BUDGET: Duration = Duration::from_secs(30);
/// How long a run has its messages for itself, at most; then they are looked for again.
const LEASE: Duration = Duration::from_secs(60);
/// How long after the end of an attempt Twilio may still take its message: an unowned message that is younger is no candidate.
/// Far longer than a request can be under way; as long as the default of `UNKNOWN_RESOLVE_AFTER_SECONDS`.
const TAKEN_WITHIN: Duration = Duration::from_secs(900);

/// What the function is told by its environment: what [`DatabaseConfig`], [`TwilioConfig`] and [`RenewalPolicy`] read,
/// `UNKNOWN_RESOLVE_AFTER_SECONDS` (900) and `UNKNOWN_PARK_AFTER_SECONDS` (86 400).
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    twilio: TwilioConfig,
    renewals: RenewalPolicy,
    times: Times,
}

/// When what may be concluded.
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

/// What is built once and borrowed by every run.
#[derive(Debug)]
pub struct App {
    db: Db,
    twilio: TwilioClient,
    renewals: RenewalPolicy,
    times: Times,
}

impl App {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`InitError`] when Postgres or Twilio can't be spoken to at all. Their being away is no error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        Ok(Self {
            db: Db::new(&config.database)?,
            twilio: TwilioClient::new(config.twilio)?,
            renewals: config.renewals,
            times: config.times,
        })
    }
}

/// Why a run did not do all that it should; the next run goes on.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Some recipients' messages could not be looked for; each was logged.
    #[error("the messages to {0} recipients could not be looked for")]
    Lookups(usize),
}

/// What a run concluded.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resolved {
    found: usize,
    sent_again: usize,
    too_late: usize,
    waiting: usize,
    parked: usize,
}

/// Looks for all messages that are due to be looked for, as long as the run may last.
///
/// # Errors
///
/// [`ResolveError`], after all have been tried.
pub async fn handle(app: &App) -> Result<Resolved, ResolveError> {
    let begun = Instant::now();
    // A fifteenth of a quarter of an hour is a minute: as often as the schedule runs.
    let lease = LEASE.min(app.times.resolve_after / 15).max(Duration::from_secs(1));
    let mut total = Resolved::default();
    let mut failures = 0;
    loop {
        let now = clock::now();
        let taken = sends::take_unresolved(&app.db, now, now + lease, PAGE).await?;
        let is_last = taken.len() < PAGE as usize;
        let groups = by_recipient(taken);
        let outcomes = futures::stream::iter(groups.values().map(|group| resolve(app, group, begun)))
            .buffer_unordered(AT_ONCE)
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

/// One list serves all messages from one sender to one recipient; they keep the order in which they were created.
type Groups = BTreeMap<(String, Option<String>, Option<String>), Vec<Unresolved>>;

fn by_recipient(taken: Vec<Unresolved>) -> Groups {
    let mut groups = Groups::new();
    for unresolved in taken {
        let key = (unresolved.to.clone(), unresolved.from.clone(), unresolved.messaging_service_sid.clone());
        groups.entry(key).or_default().push(unresolved);
    }
    groups
}

/// Looks for the messages of one group, and tells whether that failed; when the run has lasted too long, another one does.
async fn resolve(app: &App, group: &[Unresolved], begun: Instant) -> (Resolved, bool) {
    let mut resolved = Resolved::default();
    if begun.elapsed() >= BUDGET {
        return (resolved, false);
    }
    let outcome = match look(app, group, &mut resolved).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::error!(error = common::error::chain(&error), "unknown sends could not be looked for");
            park(app, group.iter(), &mut resolved).await.map_err(LookupError::from).and(Err(error))
        }
    };
    (resolved, outcome.is_err())
}

async fn look(app: &App, group: &[Unresolved], resolved: &mut Resolved) -> Result<(), LookupError> {
    let Some(first) = group.first() else { return Ok(()) };
    let sender = sender(first);
    let missing: Vec<Missing> = group.iter().map(|unresolved| missing(unresolved, &sender)).collect();
    let search = Search {
        listed_at: clock::now(),
        proves_after: app.times.resolve_after,
        max_age: app.renewals.max_age(),
    };
    let lookup = Lookup { db: &app.db, twilio: &app.twilio, renewals: &app.renewals };
    let findings = lookup.find(&first.to, &sender, &missing).await?;
    for (unresolved, finding) in group.iter().zip(&findings) {
        let span = telemetry::request(&unresolved.request_id);
        conclude(app, unresolved, finding, search, resolved).instrument(span).await?;
    }
    let undecided = group.iter().zip(&findings).filter(|(_, finding)| **finding == Finding::Undecided);
    park(app, undecided.map(|(unresolved, _)| unresolved), resolved).await?;
    Ok(())
}

fn sender(unresolved: &Unresolved) -> Sender {
    match (&unresolved.from, &unresolved.messaging_service_sid) {
        (Some(number), _) => Sender::Number(number.clone()),
        (None, service) => Sender::MessagingService(service.clone().unwrap_or_default()),
    }
}

fn missing(unresolved: &Unresolved, sender: &Sender) -> Missing {
    Missing {
        message_id: unresolved.message_id,
        sought: Sought {
            to: unresolved.to.clone(),
            sender: sender.clone(),
            body: unresolved.message_content.clone(),
            num_media: usize::try_from(unresolved.num_media).unwrap_or_default(),
            since: unresolved.started_at,
            until: unresolved.ended_at + TAKEN_WITHIN,
        },
        is_attempted: true,
    }
}

async fn conclude(
    app: &App,
    unresolved: &Unresolved,
    finding: &Finding,
    search: Search,
    resolved: &mut Resolved,
) -> Result<(), DbError> {
    let message_id = unresolved.message_id;
    match finding {
        Finding::Adopted { twilio_sid } => {
            resolved.found += 1;
            tracing::info!(%message_id, twilio_sid, "Twilio has the message");
        }
        Finding::Undecided => {
            resolved.waiting += 1;
            tracing::info!(%message_id, "undecided: Twilio has a message without an owner that may be this one");
        }
        Finding::Absent => match sends::absent(&app.db, unresolved, search, clock::now()).await? {
            Absence::Noted => resolved.waiting += 1,
            Absence::SentAgain => {
                resolved.sent_again += 1;
                tracing::info!(%message_id, "proven absent at Twilio: it is sent again");
            }
            Absence::TooLate => {
                resolved.too_late += 1;
                tracing::warn!(%message_id, "proven absent at Twilio, and its time is over: it has failed");
            }
        },
    }
    Ok(())
}

/// Parks those messages whose outcome could not be found out for too long.
async fn park(
    app: &App,
    undecided: impl Iterator<Item = &Unresolved>,
    resolved: &mut Resolved,
) -> Result<(), DbError> {
    let now = clock::now();
    let for_too_long = undecided.filter(|unresolved| unresolved.ended_at + app.times.park_after <= now);
    let ids: Vec<_> = for_too_long.map(|unresolved| unresolved.message_id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    for message_id in sends::park(&app.db, &ids, now).await? {
        resolved.parked += 1;
        tracing::error!(%message_id, "parked: nothing tells whether Twilio took the message, an operator must decide");
    }
    Ok(())
}
