//! Operations for operators: decide unknown outcomes, retry failures, list both.

use crate::db::{Db, DbError, Row, Type};
use jiff::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// An operator's decision on an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Twilio accepted it.
    Sent {
        /// The message SID, if it is known. Its status is then tracked.
        twilio_sid: Option<String>,
    },
    /// Twilio did not accept it. It is sent again, or fails if it has expired.
    NotSent,
}

/// The result of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// The message has this status now.
    Done(String),
    /// The message does not exist.
    NotFound,
    /// Its outcome is known: it has this status.
    NotUnknown(String),
    /// The SID belongs to another message.
    SidTaken,
}

/// Settles the attempts with an unknown outcome. `$2` is null if the message was not sent.
pub(crate) const DECIDE: &str = "
with held as (
    select m.id, m.delivery_status,
        coalesce(m.send_before, coalesce(m.send_at, m.created_at) + make_interval(secs => $4)) <= $5 as is_over,
        exists (select from sms_messages o where o.twilio_sid = $3 and o.id <> m.id)
            or exists (select from sms_send_attempts a where a.twilio_sid = $3 and a.message_id <> m.id) as is_taken
    from sms_messages m where m.id = $1 and m.direction = 'outbound'
    for no key update
), open as (
    select distinct on (a.message_id) a.id, a.message_id from held
    join sms_send_attempts a on a.message_id = held.id
    where a.outcome = 'unknown' and held.delivery_status = 'unknown' and not held.is_taken
    order by a.message_id, a.number desc
), settled as (
    update sms_send_attempts a
    set outcome = case when $2 then 'accepted' else 'not_processed' end, twilio_sid = coalesce($3, a.twilio_sid),
        detail = case when $2 then 'decided by an operator: sent' else 'decided by an operator: not sent' end,
        finished_at = coalesce(a.finished_at, $5)
    from open where a.id = open.id
), decided as (
    update sms_messages m
    set delivery_status = case when $2 and $3::text is not null then 'queued' when $2 then 'sent'
                               when held.is_over then 'failed' else 'pending' end,
        twilio_sid = $3, error_code = case when not $2 and held.is_over then 'retries_exhausted' end,
        next_attempt_at = case when $2 then m.next_attempt_at else $5 end,
        resolve_at = null, parked_at = null
    from held
    where m.id = held.id and held.delivery_status = 'unknown' and not held.is_taken
    returning m.delivery_status
)
select (select d.delivery_status from decided d), h.delivery_status, h.is_taken from held h";

/// Records an operator's decision on a message whose outcome is unknown, parked or not.
///
/// # Errors
///
/// [`DbError`]: a retry shows whether it was recorded.
pub async fn decide(
    db: &Db,
    id: Uuid,
    decision: &Decision,
    max_age: Duration,
    now: Timestamp,
) -> Result<Decided, DbError> {
    let (sent, sid) = match decision {
        Decision::Sent { twilio_sid } => (true, twilio_sid.as_deref()),
        Decision::NotSent => (false, None),
    };
    let params = [
        (&id as _, Type::UUID),
        (&sent as _, Type::BOOL),
        (&sid as _, Type::TEXT),
        (&max_age.as_secs_f64() as _, Type::FLOAT8),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    let rows = db.query("record an operator's decision", DECIDE, &params).await?;
    let Some(row) = rows.first() else { return Ok(Decided::NotFound) };
    Ok(match (row.get::<_, Option<String>>(0), row.get::<_, String>(1), row.get::<_, bool>(2)) {
        (Some(status), _, _) => Decided::Done(status),
        (None, status, true) if status == "unknown" => Decided::SidTaken,
        (None, status, _) => Decided::NotUnknown(status),
    })
}

/// The result of a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The message.
    pub message_id: Uuid,
    /// Why it is not retried, if it is not.
    pub refused: Option<&'static str>,
}

/// A retry ignores a `send_before` that has passed. The attempts and their SIDs stay, so that late callbacks find the
/// message.
pub(crate) const RETRY: &str = "
with held as (
    select m.id, m.direction, m.delivery_status, c.opted_out_at is not null as opted_out,
        exists (select from sms_message_status_events e
                where e.message_id = m.id and e.event_status in ('delivered', 'read')) as has_arrived,
        m.twilio_sid is not null
            and not exists (select from sms_send_attempts a where a.twilio_sid = m.twilio_sid) as is_untraced
    from sms_messages m join sms_conversations c on c.id = m.conversation_id
    where m.id = any($1)
    order by m.id
    for no key update of m
), retried as (
    update sms_messages m
    set delivery_status = 'pending', error_code = null, twilio_sid = null, claimed_at = null, next_attempt_at = $2,
        send_at = $2, send_before = case when m.send_before > $2 then m.send_before end
    from held
    where m.id = held.id and held.direction = 'outbound' and held.delivery_status in ('failed', 'undelivered')
      and not held.opted_out and not held.has_arrived and not held.is_untraced
    returning m.id
)
select h.id, h.direction, h.delivery_status, h.opted_out, h.has_arrived,
    exists (select from retried r where r.id = h.id)
from held h order by h.id";

/// Retries failed messages, and returns the result for each.
///
/// # Errors
///
/// [`DbError`]: calling it again is safe, because waiting messages are not failed ones.
pub async fn retry(db: &Db, ids: &[Uuid], now: Timestamp) -> Result<Vec<Retried>, DbError> {
    let params = [(&ids as _, Type::UUID_ARRAY), (&now as _, Type::TIMESTAMPTZ)];
    let rows = db.query("try failed messages again", RETRY, &params).await?;
    let retried = |row: &Row| {
        let (direction, status): (&str, &str) = (row.get(1), row.get(2));
        let (opted_out, has_arrived, is_retried): (bool, bool, bool) = (row.get(3), row.get(4), row.get(5));
        let refused = match () {
            () if is_retried => None,
            () if direction == "inbound" => Some("it came in"),
            () if !matches!(status, "failed" | "undelivered") => Some("it has not failed"),
            () if has_arrived => Some("it was delivered"),
            () if opted_out => Some("its recipient has opted out"),
            () => Some("no attempt holds its twilio_sid"),
        };
        Retried { message_id: row.get(0), refused }
    };
    Ok(rows.iter().map(retried).collect())
}

/// A filter for messages. Fields that are not set match all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `unknown`, `failed` or `undelivered`. Default: the latter two.
    pub status: Option<&'static str>,
    /// Twilio's error code, or our own.
    pub error_code: Option<String>,
    /// Requested at or after.
    pub since: Option<Timestamp>,
    /// Requested before.
    pub until: Option<Timestamp>,
    /// The maximum number.
    pub limit: i64,
}

/// An unknown or failed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// Its id.
    pub id: Uuid,
    /// Its conversation.
    pub conversation_id: Uuid,
    /// Its status.
    pub delivery_status: String,
    /// The error code.
    pub error_code: Option<String>,
    /// The message SID of its latest create.
    pub twilio_sid: Option<String>,
    /// When it was parked.
    pub parked_at: Option<Timestamp>,
    /// The number of attempts.
    pub attempts: i64,
    /// The outcome of the last attempt.
    pub detail: Option<String>,
    /// When it was requested.
    pub created_at: Timestamp,
}

pub(crate) const LIST: &str = "
select m.id, m.conversation_id, m.delivery_status, m.error_code,
    coalesce(m.twilio_sid, (select a.twilio_sid from sms_send_attempts a
                            where a.message_id = m.id and a.twilio_sid is not null order by a.number desc limit 1)),
    m.parked_at,
    (select count(*) from sms_send_attempts a where a.message_id = m.id),
    (select a.detail from sms_send_attempts a where a.message_id = m.id order by a.number desc limit 1),
    m.created_at
from sms_messages m
where m.direction = 'outbound' and m.delivery_status in ('unknown', 'failed', 'undelivered')
  and m.delivery_status = any(string_to_array($1, ',')) and ($2::text is null or m.error_code = $2)
  and ($3::timestamptz is null or m.created_at >= $3) and ($4::timestamptz is null or m.created_at < $4)
order by m.created_at, m.id limit $5";

/// Lists unknown or failed messages, oldest first.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn unsettled(db: &Db, wanted: &Wanted) -> Result<Vec<Unsettled>, DbError> {
    let params = [
        (&wanted.status.unwrap_or("failed,undelivered") as _, Type::TEXT),
        (&wanted.error_code as _, Type::TEXT),
        (&wanted.since as _, Type::TIMESTAMPTZ),
        (&wanted.until as _, Type::TIMESTAMPTZ),
        (&wanted.limit as _, Type::INT8),
    ];
    let rows = db.query_idempotent("list unsettled messages", LIST, &params).await?;
    let unsettled = |row: &Row| Unsettled {
        id: row.get(0),
        conversation_id: row.get(1),
        delivery_status: row.get(2),
        error_code: row.get(3),
        twilio_sid: row.get(4),
        parked_at: row.get(5),
        attempts: row.get(6),
        detail: row.get(7),
        created_at: row.get(8),
    };
    Ok(rows.iter().map(unsettled).collect())
}
