//! Messages of which it is not known whether Twilio took them: who looks for them, and what the search may conclude.

use crate::db::{Db, DbError, Row, Type};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;
use uuid::Uuid;

/// A message that Twilio may have taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Unresolved {
    /// The message.
    pub message_id: Uuid,
    /// The attempt whose outcome is not known.
    pub attempt_id: Uuid,
    /// The recipient.
    pub to: String,
    /// The sender, if it is a number.
    pub from: Option<String>,
    /// The sender, if it is a messaging service.
    pub messaging_service_sid: Option<String>,
    /// The text.
    pub message_content: String,
    /// How many files it has.
    pub num_media: i32,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// When it ended, as far as we were concerned.
    pub ended_at: Timestamp,
    /// The request that asked for the message.
    pub request_id: String,
}

/// Whoever takes a message has it for himself until `$2`; an attempt that was never ended began and ended at once.
pub(crate) const TAKE: &str = "
with due as (
    select m.id from sms_messages m
    where m.delivery_status = 'unknown' and m.parked_at is null and (m.resolve_at is null or m.resolve_at <= $1)
    order by m.resolve_at nulls first, m.id limit $3
    for no key update skip locked
), taken as (
    update sms_messages m set resolve_at = $2 from due where m.id = due.id
    returning m.id, m.to_number, m.from_number, m.messaging_service_sid, m.message_content, m.media, m.request_id
)
select t.id, a.id, t.to_number, t.from_number, t.messaging_service_sid, t.message_content,
    jsonb_array_length(t.media), a.started_at, coalesce(a.finished_at, a.started_at), coalesce(t.request_id, t.id::text)
from taken t join lateral (
    select * from sms_send_attempts a where a.message_id = t.id and a.outcome = 'unknown'
    order by a.number desc limit 1
) a on true
order by a.started_at, a.id";

/// Takes messages whose outcome is not known, for as long as `until`, those that were waited for longest first.
///
/// # Errors
///
/// [`DbError`]; the next run takes them.
pub async fn take_unresolved(
    db: &Db,
    now: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Unresolved>, DbError> {
    let params =
        [(&now as _, Type::TIMESTAMPTZ), (&until as _, Type::TIMESTAMPTZ), (&limit as _, Type::INT8)];
    let rows = db.query("find messages with an unknown outcome", TAKE, &params).await?;
    let unresolved = |row: &Row| Unresolved {
        message_id: row.get(0),
        attempt_id: row.get(1),
        to: row.get(2),
        from: row.get(3),
        messaging_service_sid: row.get(4),
        message_content: row.get(5),
        num_media: row.get(6),
        started_at: row.get(7),
        ended_at: row.get(8),
        request_id: row.get(9),
    };
    Ok(rows.iter().map(unresolved).collect())
}

pub(crate) const CLAIMED_SIDS: &str = "
select m.twilio_sid from sms_messages m where m.twilio_sid = any($1)
union select a.twilio_sid from sms_send_attempts a where a.twilio_sid = any($1)";

/// Returns those of Twilio's ids that belong to a message or an attempt already.
///
/// # Errors
///
/// [`DbError`] when Postgres can't be read.
pub async fn claimed_sids(db: &Db, sids: &[&str]) -> Result<HashSet<String>, DbError> {
    let rows =
        db.query_idempotent("look Twilio's ids up", CLAIMED_SIDS, &[(&sids, Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A message whose create may be at Twilio without our knowing its SID.
#[derive(Clone, PartialEq)]
pub struct Rival {
    /// The message.
    pub message_id: Uuid,
    /// The text.
    pub message_content: String,
    /// References to media.
    pub media: Value,
    /// Whether a function is handing it to Twilio now.
    pub is_claimed: bool,
}

/// Shows no text.
impl std::fmt::Debug for Rival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rival").field(&self.message_id).finish_non_exhaustive()
    }
}

pub(crate) const RIVALS: &str = "
select distinct o.id, o.message_content, o.media, o.claimed_at is not null
from sms_messages m join sms_messages o on o.conversation_id = m.conversation_id
where m.id = any($1) and o.direction = 'outbound' and o.twilio_sid is null
  and (o.claimed_at is not null or o.delivery_status = 'unknown')";

/// Returns the messages to the recipients of `ids`, these included, whose create may be at Twilio without our knowing its
/// SID: a message of Twilio's list that has no owner may be any of them.
///
/// # Errors
///
/// [`DbError`] when Postgres can't be read.
pub async fn rivals(db: &Db, ids: &[Uuid]) -> Result<Vec<Rival>, DbError> {
    let params = [(&ids as _, Type::UUID_ARRAY)];
    let rows = db.query_idempotent("find messages with an open attempt", RIVALS, &params).await?;
    let rival = |row: &Row| Rival {
        message_id: row.get(0),
        message_content: row.get(1),
        media: row.get(2),
        is_claimed: row.get(3),
    };
    Ok(rows.iter().map(rival).collect())
}

/// What follows from a list of Twilio's in which an attempt is not to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It is noted, or was settled meanwhile.
    Noted,
    /// It is proven, and the message is sent again.
    SentAgain,
    /// It is proven, and the message's time is over: it has failed.
    TooLate,
}

/// The steps of the statement:
/// - `held`: the message, if it still is what was looked for;
/// - `looked`: its attempt, with the first list that did not have it. If an earlier list did not have it either, and this
///   one was read late enough (`$4`: for an attempt that ended by then), it was not processed;
/// - last, the message waits for its next attempt, or its time is over, or it is looked for again when that can prove
///   something.
pub(crate) const ABSENT: &str = "
with held as (
    select m.id, coalesce(m.send_before, coalesce(m.send_at, m.created_at) + make_interval(secs => $6)) <= $5 as is_over
    from sms_messages m
    where m.id = $1 and m.delivery_status = 'unknown' and m.twilio_sid is null and m.claimed_at is null
    for no key update
), looked as (
    update sms_send_attempts a
    set absent_since = coalesce(a.absent_since, $3),
        outcome = case when a.absent_since < $3 and coalesce(a.finished_at, a.started_at) <= $4
                       then 'not_processed' else 'unknown' end,
        detail = case when a.absent_since < $3 and coalesce(a.finished_at, a.started_at) <= $4
                      then 'proven absent: in neither of two lists of Twilio''s' else a.detail end
    from held
    where a.id = $2 and a.message_id = held.id and a.outcome = 'unknown'
    returning held.id, a.outcome = 'not_processed' as is_proven, held.is_over
)
update sms_messages m
set delivery_status = case when not l.is_proven then 'unknown' when l.is_over then 'failed' else 'pending' end,
    error_code = case when not l.is_proven then m.error_code when l.is_over then 'retries_exhausted' end,
    next_attempt_at = case when l.is_proven then $5 else m.next_attempt_at end,
    resolve_at = case when not l.is_proven then greatest($7, m.resolve_at) end
from looked l where m.id = l.id
returning m.delivery_status";

/// A search that did not find an attempt at Twilio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// When its list was asked for.
    pub listed_at: Timestamp,
    /// How long after the end of an attempt a list must be asked for to prove anything.
    pub proves_after: Duration,
    /// How long a message without `send_before` is tried.
    pub max_age: Duration,
}

/// Notes that a list of Twilio's did not have an attempt; when that proves it absent, its message is sent again.
///
/// Free of effect when the message was settled meanwhile.
///
/// # Errors
///
/// [`DbError`]; the next run looks again.
pub async fn absent(db: &Db, of: &Unresolved, search: Search, now: Timestamp) -> Result<Absence, DbError> {
    let ended_by = search.listed_at - search.proves_after;
    let again_at = of.ended_at + search.proves_after;
    let rows = db
        .query(
            "note a message as absent at Twilio",
            ABSENT,
            &[
                (&of.message_id, Type::UUID),
                (&of.attempt_id, Type::UUID),
                (&search.listed_at, Type::TIMESTAMPTZ),
                (&ended_by, Type::TIMESTAMPTZ),
                (&now, Type::TIMESTAMPTZ),
                (&search.max_age.as_secs_f64(), Type::FLOAT8),
                (&again_at, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(match rows.first().map(|row| row.get::<_, &str>(0)) {
        Some("pending") => Absence::SentAgain,
        Some("failed") => Absence::TooLate,
        _ => Absence::Noted,
    })
}

pub(crate) const PARK: &str = "
with parked as (
    update sms_messages m set parked_at = $3
    from unnest($1::uuid[], $2::uuid[]) as t (id, event_id)
    where m.id = t.id and m.delivery_status = 'unknown' and m.parked_at is null
    returning m.id, m.conversation_id, t.event_id
)
insert into sms_events (id, event_type, conversation_id, message_id, data, created_at)
select event_id, 'message.status', conversation_id, id, jsonb_build_object('status', 'unknown', 'parked', true), $3
from parked
returning message_id";

/// Leaves messages to a person, and tells so: they are not looked for any more, nor ever sent by themselves. Returns
/// those that were parked by this call.
///
/// # Errors
///
/// [`DbError`]; none is parked, the next run looks again.
pub async fn park(db: &Db, ids: &[Uuid], now: Timestamp) -> Result<Vec<Uuid>, DbError> {
    let event_ids: Vec<Uuid> = ids.iter().map(|_| crate::clock::new_id()).collect();
    let params =
        [(&ids as _, Type::UUID_ARRAY), (&event_ids as _, Type::UUID_ARRAY), (&now as _, Type::TIMESTAMPTZ)];
    let rows = db.query("park messages", PARK, &params).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
