//! Deliveries: which streams have matching events, and the exchange of results for new claims.
//!
//! All rules are in SQL functions, under the lock of a stream (`migrations/functions/sms_exchange_deliveries.sql`,
//! `common/docs/decisions/0027-deliveries.md`).

use super::{Db, DbError, Json, Statement, params, row, statements};
use crate::config::Secret;
use crate::domain::delivery::{Stream, StreamKind};
use crate::domain::event::EventType;
use crate::domain::ids::{ConversationId, SubscriptionId};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;
use uuid::Uuid;

/// How many positions one comparison examines: some ten milliseconds.
const COMPARED_AT_ONCE: i64 = 20_000;

row! {
    /// A stream that needs a worker.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DueStream {
        /// The subscription.
        pub subscription_id: SubscriptionId,
        /// Which of its streams.
        pub kind: StreamKind,
        /// Whether its receiver is slow, so that workers of `[slow-events]` deliver to it.
        pub is_slow: bool,
    }
}

impl DueStream {
    /// Returns the stream.
    #[must_use]
    pub const fn stream(&self) -> Stream {
        Stream { subscription_id: self.subscription_id, kind: self.kind }
    }
}

row! {
    struct Compared {
        has_more: bool,
    }
}

const MATCH: Statement<(Compared, Option<DueStream>)> = Statement::new(
    "compare events with subscriptions",
    "
select subscription_id, kind, is_slow, has_more
from sms_match_events(max_range => $max_range, hint_before => $hint_before, at => $now)",
);

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matches {
    /// The streams that need a worker. They count as hinted.
    pub due: Vec<DueStream>,
    /// Whether further events were not compared yet.
    pub has_more: bool,
}

/// Compares new events of the log with the subscriptions. Call [`super::events::number`] before. A stream that was
/// hinted less than `hint_every` ago is not returned.
///
/// # Errors
///
/// [`DbError`]. A retry compares the rest. Streams that a lost response named are due again after `hint_every`.
pub async fn match_events(db: &Db, hint_every: Duration, now: Timestamp) -> Result<Matches, DbError> {
    let hint_before = now - hint_every;
    let params = params! { max_range: COMPARED_AT_ONCE, hint_before, now };
    let rows = db.query_idempotent(&MATCH, &params).await?;
    let has_more = rows.iter().any(|(compared, _)| compared.has_more);
    Ok(Matches { due: rows.into_iter().filter_map(|(_, due)| due).collect(), has_more })
}

const DUE: Statement<DueStream> = Statement::new(
    "find due streams",
    "
select subscription_id, kind, is_slow
from sms_due_streams(max_streams => $limit, hint_before => $hint_before, at => $now)",
);

/// Returns streams with due work, at most `limit`, that were not hinted for `hint_every`. They count as hinted.
///
/// # Errors
///
/// [`DbError`]. Streams that a lost response named are due again after `hint_every`.
pub async fn due(
    db: &Db,
    hint_every: Duration,
    limit: i32,
    now: Timestamp,
) -> Result<Vec<DueStream>, DbError> {
    let hint_before = now - hint_every;
    db.query_idempotent(&DUE, &params! { limit, hint_before, now }).await
}

const NOT_HINTED: Statement<()> = Statement::new(
    "forget hints that were not sent",
    "
update sms_delivery_streams d set hinted_at = null, wake_at = null
from unnest($subscription_ids::uuid[], $kinds::text[]) as n (subscription_id, kind)
where d.subscription_id = n.subscription_id and d.kind = n.kind",
);

/// Records that hints could not be sent, so that the next comparison or sweep returns the streams again.
///
/// # Errors
///
/// [`DbError`]. Then they are returned again after `hint_every`.
pub async fn not_hinted(db: &Db, streams: &[Stream]) -> Result<(), DbError> {
    let subscription_ids: Vec<SubscriptionId> = streams.iter().map(|stream| stream.subscription_id).collect();
    let kinds: Vec<StreamKind> = streams.iter().map(|stream| stream.kind).collect();
    db.query_idempotent(&NOT_HINTED, &params! { subscription_ids, kinds }).await.map(drop)
}

/// The limits of deliveries, as `sms_delivery_limits` in SQL.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// The lease of a claim: longer than an attempt.
    pub lease_seconds: f64,
    /// How many undelivered events of a stream have a row. Then the stream stands still.
    pub max_rows: i32,
    /// How many positions of the log one claim examines.
    pub max_range: i64,
    /// The pause after the first failure of a receiver as a whole. Each further one doubles it.
    pub pause_seconds: f64,
    /// The longest of these pauses.
    pub max_pause_seconds: f64,
    /// How long a stream is slow after an attempt that took longer than `slow_ms`.
    pub slow_seconds: f64,
    /// What is slow.
    pub slow_ms: i32,
    /// The rate of a replay.
    pub replay_per_second: f64,
    /// A worker stays with a stream that can be claimed within this time.
    pub stay_seconds: f64,
    /// A worker that leaves work which is due within this time sends a delayed hint: SQS's longest delay.
    pub wake_seconds: f64,
}

/// The result of an attempt that was claimed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeliveryResult {
    /// The position of the event.
    pub position: i64,
    /// The lease of the claim.
    pub leased_until: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub end: DeliveryEnd,
    /// When the attempt began.
    pub attempted_at: Timestamp,
    /// How long it took.
    pub duration_ms: i32,
    /// The HTTP status.
    pub status_code: Option<i32>,
    /// Why it failed.
    pub error: Option<String>,
    /// The start of the response.
    pub response_body: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DeliveryEnd {
    /// The receiver accepted the event.
    Delivered,
    /// The receiver rejected this event.
    Failed {
        /// The next attempt; `None` if the event is given up.
        next_attempt_at: Option<Timestamp>,
    },
    /// The receiver accepts nothing at present. The stream pauses.
    Unavailable {
        /// As for `Failed`.
        next_attempt_at: Option<Timestamp>,
        /// The shortest pause.
        retry_after_seconds: f64,
    },
    /// The receiver wants no more events. The subscription is disabled.
    Gone {
        /// Its next attempt, if the subscription is enabled again.
        next_attempt_at: Option<Timestamp>,
    },
    /// The attempt was stopped early and counts as none. The stream becomes slow.
    Released,
}

/// What a worker has and wants.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// How many further events it can take.
    pub wanted: i32,
    /// How many attempts it has in flight, without those in the results.
    pub in_flight: i32,
    /// Whether it delivers to slow receivers.
    pub is_slow: bool,
}

row! {
    struct StepRow {
        is_over: bool,
        resume_at: Option<Timestamp>,
        hint_at: Option<Timestamp>,
        is_slow: bool,
        is_active: bool,
        url: Option<String>,
        queue_arn: Option<String>,
        secret: String,
        previous_secret: Option<String>,
        content: bool,
    }
}

row! {
    /// An event to deliver.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Claim {
        /// Its position in the log.
        pub position: i64,
        /// Its id.
        pub event_id: Uuid,
        /// Its conversation.
        pub conversation_id: Option<ConversationId>,
        /// Earlier failures.
        pub attempts: i32,
        /// The lease, which its result returns.
        pub leased_until: Timestamp,
        /// Its body. `None` if the event is too old and was removed.
        pub body: Option<String>,
        /// When it was written.
        pub created_at: Option<Timestamp>,
        /// Whether its data get the numbers and the text of the message.
        pub has_content: bool,
        /// The message's sender.
        pub from_number: Option<String>,
        /// The message's recipient.
        pub to_number: Option<String>,
        /// The message's text.
        pub message_content: Option<String>,
    }
}

/// The subscription, and what the worker does next.
#[derive(Debug, Clone)]
pub struct Step {
    /// Whether the worker leaves the stream.
    pub is_over: bool,
    /// When it exchanges again, unless an attempt ends before.
    pub resume_at: Option<Timestamp>,
    /// When the stream needs a hint, if it does.
    pub hint_at: Option<Timestamp>,
    /// Whether the stream is slow.
    pub is_slow: bool,
    /// Whether the subscription is active.
    pub is_active: bool,
    /// The destination, if it is a URL.
    pub url: Option<String>,
    /// The destination, if it is a queue.
    pub queue_arn: Option<String>,
    /// The secrets to sign with.
    pub secrets: Vec<Secret>,
    /// Whether the receiver gets contents.
    pub content: bool,
    /// The claimed events, in the order of the log.
    pub claims: Vec<Claim>,
}

impl Step {
    fn of(row: StepRow, claims: Vec<Claim>) -> Self {
        let secrets =
            [Some(row.secret), row.previous_secret].into_iter().flatten().map(Secret::new).collect();
        Self {
            is_over: row.is_over,
            resume_at: row.resume_at,
            hint_at: row.hint_at,
            is_slow: row.is_slow,
            is_active: row.is_active,
            url: row.url,
            queue_arn: row.queue_arn,
            secrets,
            content: row.content,
            claims,
        }
    }
}

/// Its steps are described in `migrations/functions/sms_exchange_deliveries.sql`.
const EXCHANGE: Statement<(StepRow, Option<Claim>)> = Statement::new(
    "exchange deliveries",
    "
select is_over, resume_at, hint_at, is_slow, is_active, url, queue_arn, secret, previous_secret, content,
    position, event_id, conversation_id, attempts, leased_until, body, created_at, has_content, from_number, to_number,
    message_content
from sms_exchange_deliveries(
    of_subscription => $subscription_id, of_kind => $kind, results => $results, wanted => $wanted,
    in_flight => $in_flight, is_slow_worker => $is_slow, limits => $limits, content_types => $content_types,
    disabled_event => $disabled_event, at => $now)",
);

/// Records results and claims events. Returns `None` if the stream is gone: the subscription was deleted, or the
/// replay is complete.
///
/// # Errors
///
/// [`DbError`]. A retry is safe: results count once. Claims of a lost response are claimed again after their lease.
pub async fn exchange(
    db: &Db,
    stream: Stream,
    results: &[DeliveryResult],
    demand: Demand,
    limits: &Limits,
    now: Timestamp,
) -> Result<Option<Step>, DbError> {
    let Stream { subscription_id, kind } = stream;
    let Demand { wanted, in_flight, is_slow } = demand;
    let (results, limits) = (Json(results), Json(limits));
    let content_types = EventType::with_content().to_vec();
    let disabled_event = EventType::SubscriptionDisabled;
    let params = params! {
        subscription_id, kind, results, wanted, in_flight, is_slow, limits, content_types, disabled_event, now
    };
    let rows = db.query_idempotent(&EXCHANGE, &params).await?;
    let mut rows = rows.into_iter();
    let Some((step, first)) = rows.next() else { return Ok(None) };
    let claims = first.into_iter().chain(rows.filter_map(|(_, claim)| claim)).collect();
    Ok(Some(Step::of(step, claims)))
}

row! {
    /// A failing subscription that was warned about or disabled.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Judged {
        /// The subscription.
        pub subscription_id: SubscriptionId,
        /// 50 or 90: a warning. 100: it was disabled.
        pub percent: i32,
    }
}

const JUDGE: Statement<Judged> = Statement::new(
    "warn about failing subscriptions",
    "
select subscription_id, percent
from sms_judge_subscriptions(
    disable_after => $disable_after, warning_event => $warning, disabled_event => $disabled, at => $now)",
);

/// Warns about subscriptions that have failed for half and for 90 percent of `disable_after`, and disables those that
/// have failed for all of it.
///
/// # Errors
///
/// [`DbError`]. A retry is safe.
pub async fn judge(db: &Db, disable_after: Duration, now: Timestamp) -> Result<Vec<Judged>, DbError> {
    let disable_after = disable_after.as_secs_f64();
    let (warning, disabled) = (EventType::SubscriptionWarning, EventType::SubscriptionDisabled);
    db.query_idempotent(&JUDGE, &params! { disable_after, warning, disabled, now }).await
}

const FORGET_SECRETS: Statement<()> = Statement::new(
    "remove previous secrets",
    "
update sms_subscriptions set previous_secret = null, previous_until = null where previous_until <= $now",
);

/// Removes the secrets before rotations whose time is over.
///
/// # Errors
///
/// [`DbError`]. They are not used anyway.
pub async fn forget_secrets(db: &Db, now: Timestamp) -> Result<(), DbError> {
    db.query_idempotent(&FORGET_SECRETS, &params! { now }).await.map(drop)
}

const END_REPLAYS: Statement<()> = Statement::new(
    "end replays",
    "
delete from sms_delivery_streams d
where d.kind = 'replay' and d.position >= d.target and not exists (
    select from sms_deliveries e where e.subscription_id = d.subscription_id and e.kind = d.kind)",
);

/// Removes complete replays whose worker did not: for example without a matching event.
///
/// # Errors
///
/// [`DbError`].
pub async fn end_replays(db: &Db) -> Result<(), DbError> {
    db.query_idempotent(&END_REPLAYS, &[]).await.map(drop)
}

row! {
    struct Undelivered {
        rows: i64,
    }
}

const UNDELIVERED: Statement<Undelivered> =
    Statement::new("count undelivered events", "select count(*) as rows from sms_deliveries");

/// Returns the number of events that are in flight or wait for another attempt or for an earlier event.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn undelivered(db: &Db) -> Result<i64, DbError> {
    Ok(db.query_idempotent(&UNDELIVERED, &[]).await?.first().map_or(0, |row| row.rows))
}

statements!(MATCH, DUE, NOT_HINTED, EXCHANGE, JUDGE, FORGET_SECRETS, END_REPLAYS, UNDELIVERED);
