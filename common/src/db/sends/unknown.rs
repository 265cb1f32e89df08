//! Messages with an unknown outcome: claiming them for a search, and recording its result.

use crate::db::{Db, DbError, Row, Type};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;
use uuid::Uuid;

/// A message that Twilio may have accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Unresolved {
    /// The message.
    pub message_id: Uuid,
    /// The attempt with the unknown outcome.
    pub attempt_id: Uuid,
    /// The recipient.
    pub to: String,
    /// The sender, if it is a number.
    pub from: Option<String>,
    /// The sender, if it is a messaging service.
    pub messaging_service_sid: Option<String>,
    /// The text.
    pub message_content: String,
    /// The number of media.
    pub num_media: i32,
    /// The start of the attempt.
    pub started_at: Timestamp,
    /// The end of the attempt on our side.
    pub ended_at: Timestamp,
    /// The id of the request.
    pub request_id: String,
}

/// A message is claimed until `$2`. An attempt without an end counts as ended at its start.
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

/// Claims messages with an unknown outcome until `until`, the oldest first.
///
/// # Errors
///
/// [`DbError`]: the next run claims them.
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

/// Returns those SIDs that belong to a message or an attempt.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn claimed_sids(db: &Db, sids: &[&str]) -> Result<HashSet<String>, DbError> {
    let rows =
        db.query_idempotent("look Twilio's ids up", CLAIMED_SIDS, &[(&sids, Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A message that may be at Twilio with an unknown SID.
#[derive(Clone, PartialEq)]
pub struct Rival {
    /// The message.
    pub message_id: Uuid,
    /// The text.
    pub message_content: String,
    /// References to media.
    pub media: Value,
    /// Whether a function is sending it now.
    pub is_claimed: bool,
}

/// Contains no text.
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

/// Returns the messages to the recipients of `ids` (including these) that may be at Twilio with an unknown SID. An
/// unowned message in Twilio's list may be any of them.
///
/// # Errors
///
/// [`DbError`] when the query fails.
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

/// The result of a search that did not find an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Recorded, or settled meanwhile.
    Noted,
    /// Proven absent. The message is sent again.
    SentAgain,
    /// Proven absent, and the message has expired.
    TooLate,
}

/// The steps of the statement:
/// - `held`: the message, if it is unchanged;
/// - `looked`: its attempt, with the first list that lacked it. If an earlier list lacked it too, and this one was read
///   late enough (`$4`: for an attempt that ended by then), Twilio did not process it;
/// - last, the message waits for its next attempt, expires, or is searched again when that can prove it.
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
    /// When the list was requested.
    pub listed_at: Timestamp,
    /// How long after the end of an attempt a list must be requested to be a proof.
    pub proves_after: Duration,
    /// The maximum age of a message without `send_before`.
    pub max_age: Duration,
}

/// Records that a list lacked an attempt. If that proves it absent, its message is sent again.
///
/// No effect if the message was settled meanwhile.
///
/// # Errors
///
/// [`DbError`]: the next run searches again.
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

/// Parks messages for an operator: they are not searched any more and never sent automatically. Returns the newly
/// parked ones.
///
/// # Errors
///
/// [`DbError`]: none is parked; the next run searches again.
pub async fn park(db: &Db, ids: &[Uuid], now: Timestamp) -> Result<Vec<Uuid>, DbError> {
    let event_ids: Vec<Uuid> = ids.iter().map(|_| crate::clock::new_id()).collect();
    let params =
        [(&ids as _, Type::UUID_ARRAY), (&event_ids as _, Type::UUID_ARRAY), (&now as _, Type::TIMESTAMPTZ)];
    let rows = db.query("park messages", PARK, &params).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
