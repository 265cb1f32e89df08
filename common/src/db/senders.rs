//! Senders: holds and wake-ups.

use super::sends::HORIZON;
use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::pace::HoldReason;
use crate::domain::sender::Sender;
use jiff::Timestamp;
use std::time::Duration;

/// A wake-up on the queue: a request to process a sender's messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeUp {
    /// The number or the messaging service.
    pub sender: Sender,
    /// When it is due. The sender's row stores it too, so that there is one wake-up at a time.
    pub due_at: Timestamp,
}

/// A new hold extends an existing one and never shortens it, except for the outcome of a probe: its hold only lasts
/// until that outcome.
const HOLD: Statement<()> = Statement::new(
    "hold a sender",
    "
insert into sms_senders as s (sender, held_until, held_reason, held_code) values ($sender, $until, $reason, $code)
on conflict (sender) do update
set held_until = case when $by_probe then excluded.held_until else greatest(s.held_until, excluded.held_until) end,
    held_reason = excluded.held_reason, held_code = excluded.held_code",
);

/// A sender's hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The end of the hold. After it, one message is sent as a probe.
    pub until: Timestamp,
    /// The reason.
    pub reason: HoldReason,
    /// Twilio's error code, if it gave one.
    pub code: Option<String>,
    /// Whether this is the outcome of a probe.
    pub by_probe: bool,
}

/// Holds a sender.
///
/// # Errors
///
/// [`DbError`]: the next message gets the same error.
pub async fn hold(db: &Db, sender: &Sender, hold: &Hold) -> Result<(), DbError> {
    let Hold { until, reason, code, by_probe } = hold;
    db.query_idempotent(&HOLD, &params! { sender, until, reason, code, by_probe }).await.map(drop)
}

const RELEASE: Statement<()> = Statement::new(
    "end a sender's hold",
    "
update sms_senders set held_until = null, held_reason = null, held_code = null where sender = $sender",
);

/// Ends a sender's hold after a successful probe.
///
/// # Errors
///
/// [`DbError`]: the hold ends at its time, with another probe.
pub async fn release(db: &Db, sender: &Sender) -> Result<(), DbError> {
    db.query_idempotent(&RELEASE, &params! { sender }).await.map(drop)
}

row! {
    struct Woken {
        sender: Sender,
        wake_at: Timestamp,
        wake_in: f64,
    }
}

/// The steps of the statement:
/// - `sender`: every sender with pending messages, found by skipping through the index;
/// - `waiting`: when the first message of each is due, its hold is over, and its daily limit begins again;
/// - `woken`: those without a wake-up by then. Times within a second are equal: of two concurrent runs, the one with
///   the slower clock must not wake all senders again.
const WAKE: Statement<Woken> = Statement::new(
    "find senders to wake",
    "
with recursive sender as (
    (select m.sender as name from sms_messages m
     where m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
     order by 1 limit 1)
    union all
    select (select m.sender from sms_messages m
            where m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
              and m.sender > sender.name
            order by 1 limit 1)
    from sender where sender.name is not null
), waiting as (
    select sender.name, greatest(min(first.next_attempt_at), max(s.held_until), max(s.day_full_until), $now) as due_at
    from sender
    cross join unnest(array['urgent', 'normal', 'bulk']) as p (priority)
    cross join lateral (
        select m.next_attempt_at from sms_messages m
        where m.sender = sender.name and m.priority = p.priority
          and m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
        order by m.next_attempt_at limit 1
    ) first
    left join sms_senders s on s.sender = sender.name
    where sender.name is not null
    group by sender.name
), woken as (
    insert into sms_senders as s (sender, wake_at)
    select name, greatest(due_at, $now + interval '1 second') from waiting
    where due_at <= $now + make_interval(secs => $horizon_seconds)
    order by name
    on conflict (sender) do update set wake_at = excluded.wake_at
    where s.wake_at is null or s.wake_at <= $now or s.wake_at > excluded.wake_at + interval '1 second'
    returning sender, wake_at
)
select w.sender, w.wake_at, extract(epoch from waiting.due_at - $now)::float8 as wake_in
from woken w join waiting on waiting.name = w.sender",
);

/// Returns a wake-up with its delay for each sender that has due messages within the next minute and no wake-up yet.
///
/// # Errors
///
/// [`DbError`]: the next run finds them.
pub async fn wake(db: &Db, now: Timestamp) -> Result<Vec<(WakeUp, Duration)>, DbError> {
    let rows = db.query(&WAKE, &params! { now, horizon_seconds: HORIZON.as_secs_f64() }).await?;
    let wake_up = |woken: Woken| {
        let delay = Duration::try_from_secs_f64(woken.wake_in).unwrap_or_default();
        (WakeUp { sender: woken.sender, due_at: woken.wake_at }, delay)
    };
    Ok(rows.into_iter().map(wake_up).collect())
}

const NOT_WOKEN: Statement<()> =
    Statement::new("clear wake-ups", "update sms_senders set wake_at = null where sender = any($senders)");

/// Clears wake-ups that could not be queued, so that the next claim or run creates new ones.
///
/// # Errors
///
/// [`DbError`]: new ones are created after these would have been due.
pub async fn not_woken(db: &Db, senders: &[&Sender]) -> Result<(), DbError> {
    db.query_idempotent(&NOT_WOKEN, &params! { senders }).await.map(drop)
}

statements!(HOLD, RELEASE, WAKE, NOT_WOKEN);
