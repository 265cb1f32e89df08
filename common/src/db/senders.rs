//! Our senders: holds, and the wake-ups by which a sender with something to do is looked at again.

use super::sends::HORIZON;
use super::{Db, DbError, Type};
use jiff::Timestamp;
use std::time::Duration;

/// What asks, on the queue, for a sender's messages to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeUp {
    /// Our number, or the messaging service.
    pub sender: String,
    /// When it is due: by this the sender's row knows it again, so that one at a time is on its way.
    pub due_at: Timestamp,
}

/// Why a sender is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReason {
    /// Twilio's queue of it is full.
    QueueFull,
    /// Twilio asked us to pause.
    Limited,
    /// Our account, number or credentials are refused: somebody must act.
    Configuration,
}

impl HoldReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Limited => "limited",
            Self::Configuration => "configuration",
        }
    }
}

/// A hold that begins while another lasts prolongs it, and never shortens it, unless it is what the one message met that
/// went ahead: the hold that it went under was there only until its outcome.
const HOLD: &str = "
insert into sms_senders as s (sender, held_until, held_reason, held_code) values ($1, $2, $3, $4)
on conflict (sender) do update
set held_until = case when $5 then excluded.held_until else greatest(s.held_until, excluded.held_until) end,
    held_reason = excluded.held_reason, held_code = excluded.held_code";

/// A sender's hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Nothing is handed over before, and then one message alone.
    pub until: Timestamp,
    /// Why.
    pub reason: HoldReason,
    /// Twilio's error code, if it gave one.
    pub code: Option<String>,
    /// Whether this is what the one message met that went ahead.
    pub by_probe: bool,
}

/// Holds a sender.
///
/// # Errors
///
/// [`DbError`]; the next message of the sender then finds out for itself.
pub async fn hold(db: &Db, sender: &str, hold: &Hold) -> Result<(), DbError> {
    let params = [
        (&sender as _, Type::TEXT),
        (&hold.until as _, Type::TIMESTAMPTZ),
        (&hold.reason.as_str() as _, Type::TEXT),
        (&hold.code as _, Type::TEXT),
        (&hold.by_probe as _, Type::BOOL),
    ];
    db.query_idempotent("hold a sender", HOLD, &params).await.map(drop)
}

const RELEASE: &str = "
update sms_senders set held_until = null, held_reason = null, held_code = null where sender = $1";

/// Ends a sender's hold, after the one message that went ahead got through.
///
/// # Errors
///
/// [`DbError`]; the hold then ends by its time, with another message alone.
pub async fn release(db: &Db, sender: &str) -> Result<(), DbError> {
    db.query_idempotent("end a sender's hold", RELEASE, &[(&sender as _, Type::TEXT)]).await.map(drop)
}

/// The steps of the statement:
/// - `sender`: every sender with pending messages, by skipping through the index from one to the next, however many
///   messages each has;
/// - `waiting`: when the first message of each is due, and its hold over;
/// - `woken`: those for which nothing is on its way by then. A second counts as the same time: of two runs side by side, the
///   one whose clock is a little behind may come second, and must not wake everybody again.
const WAKE: &str = "
with recursive sender as (
    (select coalesce(m.from_number, m.messaging_service_sid, '') as name from sms_messages m
     where m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
     order by 1 limit 1)
    union all
    select (select coalesce(m.from_number, m.messaging_service_sid, '') from sms_messages m
            where m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
              and coalesce(m.from_number, m.messaging_service_sid, '') > sender.name
            order by 1 limit 1)
    from sender where sender.name is not null
), waiting as (
    select sender.name, greatest(min(first.next_attempt_at), max(s.held_until), $1) as due_at
    from sender
    cross join unnest(array['urgent', 'normal', 'bulk']) as p (priority)
    cross join lateral (
        select m.next_attempt_at from sms_messages m
        where coalesce(m.from_number, m.messaging_service_sid, '') = sender.name and m.priority = p.priority
          and m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
        order by m.next_attempt_at limit 1
    ) first
    left join sms_senders s on s.sender = sender.name
    where sender.name is not null
    group by sender.name
), woken as (
    insert into sms_senders as s (sender, wake_at)
    select name, greatest(due_at, $1 + interval '1 second') from waiting
    where due_at <= $1 + make_interval(secs => $2)
    order by name
    on conflict (sender) do update set wake_at = excluded.wake_at
    where s.wake_at is null or s.wake_at <= $1 or s.wake_at > excluded.wake_at + interval '1 second'
    returning sender, wake_at
)
select w.sender, w.wake_at, extract(epoch from waiting.due_at - $1)::float8
from woken w join waiting on waiting.name = w.sender";

/// Finds the senders that have something to do within the next minute and no wake-up on its way, and returns one for each,
/// with the delay after which it is due.
///
/// # Errors
///
/// [`DbError`]; the next sweep finds them.
pub async fn wake(db: &Db, now: Timestamp) -> Result<Vec<(WakeUp, Duration)>, DbError> {
    let params = [(&now as _, Type::TIMESTAMPTZ), (&HORIZON.as_secs_f64() as _, Type::FLOAT8)];
    let rows = db.query("find senders to wake", WAKE, &params).await?;
    let wake_up = |row: &super::Row| {
        let wake_up = WakeUp { sender: row.get(0), due_at: row.get(1) };
        (wake_up, Duration::try_from_secs_f64(row.get(2)).unwrap_or_default())
    };
    Ok(rows.iter().map(wake_up).collect())
}

const NOT_WOKEN: &str = "update sms_senders set wake_at = null where sender = any($1)";

/// Notes that wake-ups could not be put on their queue, so that the next claim or sweep makes others.
///
/// # Errors
///
/// [`DbError`]; others are then made once these would have been due.
pub async fn not_woken(db: &Db, senders: &[&str]) -> Result<(), DbError> {
    let params = [(&senders as _, Type::TEXT_ARRAY)];
    db.query_idempotent("note senders as not woken", NOT_WOKEN, &params).await.map(drop)
}
