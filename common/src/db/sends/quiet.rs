//! Finds the next messages to claim, to check quiet hours first.

use super::claim::ClaimRequest;
use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::MessageId;
use crate::domain::message::Purpose;
use crate::domain::phone::E164;
use crate::domain::sender::Sender;
use jiff::Timestamp;

row! {
    /// A message that the next claim may include.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Candidate {
        /// The message.
        pub message_id: MessageId,
        /// The recipient.
        pub to: E164 = "to_number",
        /// The recipient's time zone, if it is known.
        pub time_zone: Option<String>,
        /// What it is for.
        pub purpose: Purpose,
        /// Whether it ignores quiet hours.
        pub is_urgent: bool,
    }
}

/// The first due messages of each sender and priority, in the order of the claim.
const CANDIDATES: Statement<Candidate> = Statement::new(
    "find due messages",
    "
with sender as (
    select m.sender as name from unnest($messages::uuid[]) as t (id) join sms_messages m on m.id = t.id
    where m.direction = 'outbound'
    union select unnest($woken::text[])
)
select m.id as message_id, m.to_number, m.purpose, c.time_zone, p.priority = 'urgent' as is_urgent
from sender
cross join unnest(array['urgent', 'normal', 'bulk']) as p (priority)
cross join lateral (
    select m.id, m.to_number, m.purpose, m.conversation_id from sms_messages m
    where m.sender = sender.name and m.priority = p.priority
      and m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null and m.next_attempt_at <= $now
    order by m.next_attempt_at limit $limit
) m
join sms_conversations c on c.id = m.conversation_id",
);

/// Finds the messages that the next claim may include, with a limit per sender and priority.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn candidates(
    db: &Db,
    request: &ClaimRequest,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Candidate>, DbError> {
    let woken: Vec<&Sender> = request.wake_ups.iter().map(|wake_up| &wake_up.sender).collect();
    db.query_idempotent(&CANDIDATES, &params! { messages: request.messages, woken, now, limit }).await
}

const POSTPONE: Statement<()> = Statement::new(
    "postpone messages",
    "
update sms_messages m set next_attempt_at = t.until, quiet_until = t.until
from unnest($ids::uuid[], $until::timestamptz[], $time_zones::text[]) as t (id, until, time_zone), sms_conversations c
where m.id = t.id and m.delivery_status = 'pending' and m.claimed_at is null
  and c.id = m.conversation_id and c.time_zone is not distinct from t.time_zone",
);

/// Postpones messages to the end of their quiet hours, except those that were claimed, or whose time zone changed,
/// meanwhile.
///
/// # Errors
///
/// [`DbError`]: they stay due.
pub async fn postpone(db: &Db, disturbing: &[(Candidate, Timestamp)]) -> Result<(), DbError> {
    let params = params! {
        ids: disturbing.iter().map(|(candidate, _)| candidate.message_id).collect::<Vec<_>>(),
        until: disturbing.iter().map(|(_, until)| *until).collect::<Vec<_>>(),
        time_zones: disturbing.iter().map(|(candidate, _)| candidate.time_zone.as_deref()).collect::<Vec<_>>(),
    };
    db.query_idempotent(&POSTPONE, &params).await.map(drop)
}

statements!(CANDIDATES, POSTPONE);
