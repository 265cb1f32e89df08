//! Operations for operators: decide unknown outcomes, retry failures, list both.

use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::{ConversationId, MessageId};
use crate::domain::message::{Direction, Status};
use crate::domain::sids::MessageSid;
use jiff::Timestamp;
use std::time::Duration;

/// An operator's decision on an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Twilio accepted it.
    Sent {
        /// The message SID, if it is known. Its status is then tracked.
        twilio_sid: Option<MessageSid>,
    },
    /// Twilio did not accept it. It is sent again, or fails if it has expired.
    NotSent,
}

/// The result of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// The message has this status now.
    Done(Status),
    /// The message does not exist.
    NotFound,
    /// Its outcome is known: it has this status.
    NotUnknown(Status),
    /// The SID belongs to another message.
    SidTaken,
}

row! {
    struct DecidedRow {
        decided_status: Option<Status>,
        delivery_status: Status,
        is_taken: bool,
    }
}

/// Settles the attempts with an unknown outcome. `$twilio_sid` is null if it is not known, or the
/// message was not sent.
const DECIDE: Statement<DecidedRow> = Statement::new(
    "record an operator's decision",
    "
with held as (
    select m.id, m.delivery_status, m.error_code, m.parked_at is not null as is_parked,
        coalesce(m.send_before, coalesce(m.send_at, m.created_at) + make_interval(secs => $max_age_seconds))
            <= $now as is_over,
        exists (select from sms_message_sids s
                where s.packed_sid = sms_pack_sid($twilio_sid) and s.message_id <> m.id) as is_taken
    from sms_messages m where m.id = $id and m.direction = 'outbound'
    for no key update
), open as (
    select distinct on (a.message_id) a.id, a.message_id from held
    join sms_send_attempts a on a.message_id = held.id
    where a.outcome = 'unknown' and held.delivery_status = 'unknown' and not held.is_taken
    order by a.message_id, a.number desc
), settled as (
    update sms_send_attempts a
    set outcome = case when $sent then 'accepted' else 'not_processed' end,
        twilio_sid = coalesce($twilio_sid, a.twilio_sid),
        detail = case when $sent then 'decided by an operator: sent' else 'decided by an operator: not sent' end,
        finished_at = coalesce(a.finished_at, $now)
    from open where a.id = open.id
), decided as (
    update sms_messages m
    set delivery_status = case when $sent and $twilio_sid::text is not null then 'queued' when $sent then 'sent'
                               when held.is_over then 'failed' else 'pending' end,
        twilio_sid = $twilio_sid, error_code = case when not $sent and held.is_over then 'retries_exhausted' end,
        next_attempt_at = case when $sent then m.next_attempt_at else $now end,
        resolve_at = null, parked_at = null
    from held
    where m.id = held.id and held.delivery_status = 'unknown' and not held.is_taken
    returning m.id, m.delivery_status,
        (m.id, held.delivery_status, held.error_code, held.is_parked)::sms_message_state as before
), announced as (
    select sms_emit_status_events(array_agg(d.before), $status_event, $failed_event, $now) as events from decided d
)
select (select d.delivery_status from decided d) as decided_status, h.delivery_status, h.is_taken
from held h cross join announced",
);

/// Records an operator's decision on a message whose outcome is unknown, parked or not.
///
/// # Errors
///
/// [`DbError`]: a retry shows whether it was recorded.
pub async fn decide(
    db: &Db,
    id: MessageId,
    decision: &Decision,
    max_age: Duration,
    now: Timestamp,
) -> Result<Decided, DbError> {
    let (sent, twilio_sid) = match decision {
        Decision::Sent { twilio_sid } => (true, twilio_sid.as_ref()),
        Decision::NotSent => (false, None),
    };
    let params = params! {
        id,
        sent,
        twilio_sid,
        max_age_seconds: max_age.as_secs_f64(),
        now,
        status_event: EventType::MessageStatus,
        failed_event: EventType::MessageFailed,
    };
    let rows = db.query(&DECIDE, &params).await?;
    let Some(row) = rows.first() else { return Ok(Decided::NotFound) };
    Ok(match (row.decided_status, row.delivery_status) {
        (Some(status), _) => Decided::Done(status),
        (None, Status::Unknown) if row.is_taken => Decided::SidTaken,
        (None, status) => Decided::NotUnknown(status),
    })
}

/// The result of a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The message.
    pub message_id: MessageId,
    /// Why it is not retried, if it is not.
    pub refused: Option<&'static str>,
}

row! {
    struct RetriedRow {
        id: MessageId,
        direction: Direction,
        delivery_status: Status,
        opted_out: bool,
        is_clarification: bool,
        has_arrived: bool,
        is_erased: bool,
        is_emptied: bool,
        is_retried: bool,
    }
}

/// A retry ignores a `send_before` that has passed. The attempts and their SIDs stay, so that late callbacks find the
/// message.
const RETRY: Statement<RetriedRow> = Statement::new(
    "retry failed messages",
    "
with held as (
    select m.id, m.direction, m.delivery_status, m.error_code,
        sms_refuses(c.opted_out_at, c.opted_out_scopes, coalesce(m.workflow_type, c.workflow_type), m.purpose)
            as opted_out,
        m.is_clarification,
        m.erased_at is not null as is_erased,
        exists (select from sms_send_attempts a
                join sms_callbacks b on b.packed_sid = sms_pack_sid(a.twilio_sid)
                where a.message_id = m.id and b.event_status in ('delivered', 'read')) as has_arrived,
        exists (select from sms_retention_cursors r where m.id <= r.position) as is_emptied,
        m.twilio_sid is not null and not exists (
            select from sms_send_attempts a where a.message_id = m.id and a.twilio_sid = m.twilio_sid) as is_untraced
    from sms_messages m join sms_conversations c on c.id = m.conversation_id
    where m.id = any($ids)
    order by m.id
    for no key update of m
), retried as (
    update sms_messages m
    set delivery_status = 'pending', error_code = null, twilio_sid = null, claimed_at = null, next_attempt_at = $now,
        send_at = $now, send_before = case when m.send_before > $now then m.send_before end
    from held
    where m.id = held.id and held.direction = 'outbound' and held.delivery_status in ('failed', 'undelivered')
      and not held.opted_out and not held.is_clarification and not held.has_arrived and not held.is_untraced
      and not held.is_erased and not held.is_emptied
    returning m.id, (m.id, held.delivery_status, held.error_code, false)::sms_message_state as before
), announced as (
    select sms_emit_status_events(array_agg(r.before), $status_event, $failed_event, $now) as events from retried r
)
select h.id, h.direction, h.delivery_status, h.opted_out, h.is_clarification, h.has_arrived, h.is_erased, h.is_emptied,
    exists (select from retried r where r.id = h.id) as is_retried
from held h cross join announced order by h.id",
);

/// Retries failed messages, and returns the result for each.
///
/// # Errors
///
/// [`DbError`]: calling it again is safe, because waiting messages are not failed ones.
pub async fn retry(db: &Db, ids: &[MessageId], now: Timestamp) -> Result<Vec<Retried>, DbError> {
    let (status_event, failed_event) = (EventType::MessageStatus, EventType::MessageFailed);
    let rows = db.query(&RETRY, &params! { ids, now, status_event, failed_event }).await?;
    Ok(rows.into_iter().map(|row| Retried { message_id: row.id, refused: row.refused() }).collect())
}

impl RetriedRow {
    fn refused(&self) -> Option<&'static str> {
        match (self.direction, self.delivery_status) {
            _ if self.is_retried => None,
            (Direction::Inbound, _) => Some("it came in"),
            (_, Status::Failed | Status::Undelivered) if self.has_arrived => Some("it was delivered"),
            (_, Status::Failed | Status::Undelivered) if self.opted_out => {
                Some("its recipient has opted out")
            }
            (_, Status::Failed | Status::Undelivered) if self.is_clarification => {
                Some("it is a clarification, which must be sent within minutes")
            }
            (_, Status::Failed | Status::Undelivered) if self.is_erased => Some("its content was erased"),
            (_, Status::Failed | Status::Undelivered) if self.is_emptied => {
                Some("it is older than the retention of messages")
            }
            (_, Status::Failed | Status::Undelivered) => Some("no attempt holds its twilio_sid"),
            _ => Some("it has not failed"),
        }
    }
}

/// A filter for messages. Fields that are not set match all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageFilter {
    /// [`Status::Unknown`], [`Status::Failed`] or [`Status::Undelivered`]. Default: the latter two.
    pub status: Option<Status>,
    /// Twilio's error code, or our own.
    pub error_code: Option<String>,
    /// Requested at or after.
    pub since: Option<Timestamp>,
    /// Requested before.
    pub until: Option<Timestamp>,
    /// The maximum number.
    pub limit: i64,
}

row! {
    /// An unknown or failed message.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Unsettled {
        /// Its id.
        pub id: MessageId,
        /// Its conversation.
        pub conversation_id: ConversationId,
        /// Its status.
        pub delivery_status: Status,
        /// The error code.
        pub error_code: Option<String>,
        /// The message SID of its latest create.
        pub twilio_sid: Option<MessageSid>,
        /// When it was parked.
        pub parked_at: Option<Timestamp>,
        /// The number of attempts.
        pub attempts: i64,
        /// The outcome of the last attempt.
        pub detail: Option<String>,
        /// When it was requested.
        pub created_at: Timestamp,
    }
}

/// The index has the messages of one status by time: a page of each status is read, instead of all failures.
const LIST: Statement<Unsettled> = Statement::new(
    "list unsettled messages",
    "
select m.id, m.conversation_id, m.delivery_status, m.error_code,
    coalesce(m.twilio_sid,
        (select a.twilio_sid from sms_send_attempts a
         where a.message_id = m.id and a.twilio_sid is not null order by a.number desc limit 1)) as twilio_sid,
    m.parked_at,
    (select count(*) from sms_send_attempts a where a.message_id = m.id) as attempts,
    (select a.detail from sms_send_attempts a where a.message_id = m.id order by a.number desc limit 1) as detail,
    m.created_at
from unnest($statuses::text[]) as of_status (name) cross join lateral (
    select * from sms_messages m
    where m.direction = 'outbound' and m.delivery_status in ('unknown', 'failed', 'undelivered')
      and m.delivery_status = of_status.name and ($error_code::text is null or m.error_code = $error_code)
      and ($since::timestamptz is null or m.created_at >= $since)
      and ($until::timestamptz is null or m.created_at < $until)
    order by m.created_at, m.id limit $limit
) m
order by m.created_at, m.id limit $limit",
);

/// Lists unknown or failed messages, oldest first.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn unsettled(db: &Db, filter: &MessageFilter) -> Result<Vec<Unsettled>, DbError> {
    let MessageFilter { status, error_code, since, until, limit } = filter;
    let statuses = status.map_or_else(|| vec![Status::Failed, Status::Undelivered], |status| vec![status]);
    db.query_idempotent(&LIST, &params! { statuses, error_code, since, until, limit }).await
}

statements!(DECIDE, RETRY, LIST);
