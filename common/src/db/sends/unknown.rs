//! Messages with an unknown outcome: claiming them for a search, and recording its result.

use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::{AttemptId, MessageId};
use crate::domain::message::Status;
use crate::domain::phone::E164;
use crate::domain::sender::Sender;
use crate::domain::sids::MessageSid;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;

row! {
    /// A message that Twilio may have accepted.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Unresolved {
        /// The message.
        pub message_id: MessageId,
        /// The attempt with the unknown outcome.
        pub attempt_id: AttemptId,
        /// The recipient.
        pub to: E164 = "to_number",
        /// The sender.
        pub sender: Sender,
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
}

/// A message is claimed until `$until`. An attempt without an end counts as ended at its start.
const TAKE: Statement<Unresolved> = Statement::new(
    "find messages with an unknown outcome",
    "
with due as (
    select m.id from sms_messages m
    where m.delivery_status = 'unknown' and m.parked_at is null and (m.resolve_at is null or m.resolve_at <= $now)
    order by m.resolve_at nulls first, m.id limit $limit
    for no key update skip locked
), taken as (
    update sms_messages m set resolve_at = $until from due where m.id = due.id
    returning m.id, m.to_number, m.sender, m.message_content, m.media, m.request_id
)
select t.id as message_id, a.id as attempt_id, t.to_number, t.sender, t.message_content,
    jsonb_array_length(t.media) as num_media, a.started_at, coalesce(a.finished_at, a.started_at) as ended_at,
    coalesce(t.request_id, t.id::text) as request_id
from taken t join lateral (
    select * from sms_send_attempts a where a.message_id = t.id and a.outcome = 'unknown'
    order by a.number desc limit 1
) a on true
order by a.started_at, a.id",
);

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
    db.query(&TAKE, &params! { now, until, limit }).await
}

row! {
    struct ClaimedSid {
        twilio_sid: MessageSid,
    }
}

const CLAIMED_SIDS: Statement<ClaimedSid> = Statement::new(
    "look up Twilio SIDs",
    "
select t.sid as twilio_sid from unnest($sids::text[]) as t (sid)
join sms_message_sids s on s.packed_sid = sms_pack_sid(t.sid)",
);

/// Returns those SIDs that belong to a message or an attempt.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn claimed_sids(db: &Db, sids: &[&MessageSid]) -> Result<HashSet<MessageSid>, DbError> {
    let rows = db.query_idempotent(&CLAIMED_SIDS, &params! { sids }).await?;
    Ok(rows.into_iter().map(|row| row.twilio_sid).collect())
}

row! {
    /// A message that may be at Twilio with an unknown SID.
    #[derive(Clone, PartialEq)]
    pub struct Rival {
        /// The message.
        pub message_id: MessageId,
        /// The text.
        pub message_content: String,
        /// References to media.
        pub media: Value,
        /// Whether a function is sending it now.
        pub is_claimed: bool,
    }
}

/// Contains no text.
impl std::fmt::Debug for Rival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rival").field(&self.message_id).finish_non_exhaustive()
    }
}

const RIVALS: Statement<Rival> = Statement::new(
    "find messages with an open attempt",
    "
select distinct o.id as message_id, o.message_content, o.media, o.claimed_at is not null as is_claimed
from sms_messages m join sms_messages o on o.conversation_id = m.conversation_id
where m.id = any($ids) and o.direction = 'outbound' and o.twilio_sid is null
  and (o.claimed_at is not null or o.delivery_status = 'unknown')",
);

/// Returns the messages to the recipients of `ids` (including these) that may be at Twilio with an unknown SID. An
/// unowned message in Twilio's list may be any of them.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn rivals(db: &Db, ids: &[MessageId]) -> Result<Vec<Rival>, DbError> {
    db.query_idempotent(&RIVALS, &params! { ids }).await
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

row! {
    struct Looked {
        delivery_status: Status,
    }
}

/// The steps of the statement:
/// - `held`: the message, if it is unchanged;
/// - `looked`: its attempt, with the first list that lacked it. If an earlier list lacked it too, and this one was read
///   late enough (for an attempt that ended by `$ended_by`), Twilio did not process it;
/// - `settled`: the message waits for its next attempt, expires, or is searched again when that can prove it;
/// - `announced`: the event, last.
const ABSENT: Statement<Looked> = Statement::new(
    "record a message as absent at Twilio",
    "
with held as (
    select m.id, m.error_code,
        coalesce(m.send_before, coalesce(m.send_at, m.created_at) + make_interval(secs => $max_age_seconds))
            <= $now as is_over
    from sms_messages m
    where m.id = $message_id and m.delivery_status = 'unknown' and m.twilio_sid is null and m.claimed_at is null
    for no key update
), looked as (
    update sms_send_attempts a
    set absent_since = coalesce(a.absent_since, $listed_at),
        outcome = case when a.absent_since < $listed_at and coalesce(a.finished_at, a.started_at) <= $ended_by
                       then 'not_processed' else 'unknown' end,
        detail = case when a.absent_since < $listed_at and coalesce(a.finished_at, a.started_at) <= $ended_by
                      then 'proven absent: in neither of two lists of Twilio''s' else a.detail end
    from held
    where a.id = $attempt_id and a.message_id = held.id and a.outcome = 'unknown'
    returning held.id, held.error_code, a.outcome = 'not_processed' as is_proven, held.is_over
), settled as (
    update sms_messages m
    set delivery_status = case when not l.is_proven then 'unknown' when l.is_over then 'failed' else 'pending' end,
        error_code = case when not l.is_proven then m.error_code when l.is_over then 'retries_exhausted' end,
        next_attempt_at = case when l.is_proven then $now else m.next_attempt_at end,
        resolve_at = case when not l.is_proven then greatest($again_at, m.resolve_at) end
    from looked l where m.id = l.id
    returning m.id, m.delivery_status, l.error_code
), announced as (
    select sms_emit_status_events(
        array_agg((s.id, 'unknown', s.error_code, false)::sms_message_state),
        $status_event, $failed_event, $now) as events
    from settled s
)
select s.delivery_status from settled s cross join announced",
);

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
    let params = params! {
        message_id: of.message_id,
        attempt_id: of.attempt_id,
        listed_at: search.listed_at,
        ended_by: search.listed_at - search.proves_after,
        now,
        max_age_seconds: search.max_age.as_secs_f64(),
        again_at: of.ended_at + search.proves_after,
        status_event: EventType::MessageStatus,
        failed_event: EventType::MessageFailed,
    };
    let rows = db.query(&ABSENT, &params).await?;
    Ok(match rows.first().map(|row| row.delivery_status) {
        Some(Status::Pending) => Absence::SentAgain,
        Some(Status::Failed) => Absence::TooLate,
        _ => Absence::Noted,
    })
}

row! {
    struct Parked {
        message_id: MessageId,
    }
}

const PARK: Statement<Parked> = Statement::new(
    "park messages",
    "
with parked as (
    update sms_messages m set parked_at = $now
    where m.id = any($ids) and m.delivery_status = 'unknown' and m.parked_at is null
    returning m.id, m.error_code
), announced as (
    select sms_emit_status_events(
        array_agg((p.id, 'unknown', p.error_code, false)::sms_message_state),
        $status_event, $failed_event, $now) as events
    from parked p
)
select p.id as message_id from parked p cross join announced",
);

/// Parks messages for an operator: they are not searched any more and never sent automatically. Returns the newly
/// parked ones.
///
/// # Errors
///
/// [`DbError`]: none is parked; the next run searches again.
pub async fn park(db: &Db, ids: &[MessageId], now: Timestamp) -> Result<Vec<MessageId>, DbError> {
    let (status_event, failed_event) = (EventType::MessageStatus, EventType::MessageFailed);
    let rows = db.query(&PARK, &params! { ids, now, status_event, failed_event }).await?;
    Ok(rows.into_iter().map(|row| row.message_id).collect())
}

statements!(TAKE, CLAIMED_SIDS, RIVALS, ABSENT, PARK);
