//! Finds the next messages to claim, to check quiet hours first.

use super::claim::Asked;
use crate::db::{Db, DbError, Type};
use jiff::Timestamp;
use uuid::Uuid;

/// A message that the next claim may include.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The message.
    pub message_id: Uuid,
    /// The recipient.
    pub to: String,
    /// The recipient's time zone, if it is known.
    pub time_zone: Option<String>,
    /// Whether it ignores quiet hours.
    pub is_urgent: bool,
}

/// The first due messages of each sender and priority, in the order of the claim.
const CANDIDATES: &str = "
with sender as (
    select coalesce(m.from_number, m.messaging_service_sid, '') as name from sms_messages m
    where m.id = any($1) and m.direction = 'outbound'
    union select unnest($2::text[])
)
select m.id, m.to_number, c.time_zone, p.priority = 'urgent'
from sender
cross join unnest(array['urgent', 'normal', 'bulk']) as p (priority)
cross join lateral (
    select m.id, m.to_number, m.conversation_id from sms_messages m
    where coalesce(m.from_number, m.messaging_service_sid, '') = sender.name and m.priority = p.priority
      and m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null and m.next_attempt_at <= $3
    order by m.next_attempt_at limit $4
) m
join sms_conversations c on c.id = m.conversation_id";

/// Finds the messages that the next claim may include, with a limit per sender and priority.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn candidates(
    db: &Db,
    asked: &Asked,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Candidate>, DbError> {
    let woken: Vec<&str> = asked.wake_ups.iter().map(|wake_up| wake_up.sender.as_str()).collect();
    let params = [
        (&asked.messages as _, Type::UUID_ARRAY),
        (&woken as _, Type::TEXT_ARRAY),
        (&now as _, Type::TIMESTAMPTZ),
        (&limit as _, Type::INT8),
    ];
    let rows = db.query_idempotent("look at what is due", CANDIDATES, &params).await?;
    let candidate = |row: &crate::db::Row| Candidate {
        message_id: row.get(0),
        to: row.get(1),
        time_zone: row.get(2),
        is_urgent: row.get(3),
    };
    Ok(rows.iter().map(candidate).collect())
}

const POSTPONE: &str = "
update sms_messages m set next_attempt_at = t.until, quiet_until = t.until
from unnest($1::uuid[], $2::timestamptz[], $3::text[]) as t (id, until, time_zone), sms_conversations c
where m.id = t.id and m.delivery_status = 'pending' and m.claimed_at is null
  and c.id = m.conversation_id and c.time_zone is not distinct from t.time_zone";

/// Postpones messages to the end of their quiet hours, except those that were claimed, or whose time zone changed,
/// meanwhile.
///
/// # Errors
///
/// [`DbError`]: they stay due.
pub async fn postpone(db: &Db, disturbing: &[(Candidate, Timestamp)]) -> Result<(), DbError> {
    let ids: Vec<Uuid> = disturbing.iter().map(|(candidate, _)| candidate.message_id).collect();
    let until: Vec<Timestamp> = disturbing.iter().map(|(_, until)| *until).collect();
    let zones: Vec<Option<&str>> =
        disturbing.iter().map(|(candidate, _)| candidate.time_zone.as_deref()).collect();
    let params = [
        (&ids as _, Type::UUID_ARRAY),
        (&until as _, Type::TIMESTAMPTZ_ARRAY),
        (&zones as _, Type::TEXT_ARRAY),
    ];
    db.query_idempotent("put messages off", POSTPONE, &params).await.map(drop)
}
