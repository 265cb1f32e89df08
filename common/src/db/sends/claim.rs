//! Claims: committed before a call to Twilio, so that nobody else makes it.

use crate::db::{Db, DbError, Row, Type};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// A message that is ours to hand to Twilio, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The message.
    pub message_id: Uuid,
    /// The attempt that was written for it.
    pub attempt_id: Uuid,
    /// How many attempts there have been, this one included.
    pub attempt_number: i32,
    /// The recipient.
    pub to: String,
    /// The sender, if it is a number.
    pub from: Option<String>,
    /// The sender, if it is a messaging service.
    pub messaging_service_sid: Option<String>,
    /// The text.
    pub message_content: String,
    /// References to media.
    pub media_urls: Vec<String>,
    /// Not after.
    pub send_before: Option<Timestamp>,
    /// When it was to be sent first: its `send_at`, or else when it was asked for.
    pub wanted_at: Timestamp,
}

/// The steps of the statement:
/// - `input`: the messages asked for, each with the id that its attempt will have;
/// - `due`: those that are pending, due and held by nobody, locked together with their conversations: a STOP that is
///   being committed is waited for, and then seen; in the order of numbers, in which inbound batches lock too;
/// - `refused`: those whose recipient has opted out, or whose time has passed, which fail for good;
/// - `claimed`: the rest, which nobody else can claim from here on;
/// - `attempted`: a row for the call that follows, committed before it.
///
/// What it returns last are claims that an earlier run of the same call made and lost the answer of, known by the ids
/// of their attempts: so it may be run twice, and a connection that died leaves no message in nobody's hands.
pub(crate) const CLAIM: &str = "
with input as (
    select distinct on (message_id) * from unnest($1::uuid[], $2::uuid[]) as t (message_id, attempt_id)
    order by message_id
), due as (
    select m.id, c.opted_out_at is not null as opted_out,
           coalesce(m.send_before <= $3, false) as expired
    from sms_messages m join sms_conversations c on c.id = m.conversation_id
    where m.id in (select message_id from input) and m.direction = 'outbound'
      and m.delivery_status = 'pending' and m.twilio_sid is null and m.claimed_at is null
      and m.next_attempt_at <= $3
    order by c.account_sid, c.phone_number_canonical, m.id
    for no key update of m for share of c
), refused as (
    update sms_messages m
    set delivery_status = 'failed',
        error_code = case when due.opted_out then 'opted_out' else 'retries_exhausted' end
    from due
    where m.id = due.id and (due.opted_out or due.expired) and m.delivery_status = 'pending' and m.claimed_at is null
    returning m.id
), claimed as (
    update sms_messages m set claimed_at = $3
    from due
    where m.id = due.id and not due.opted_out and not due.expired
      and m.delivery_status = 'pending' and m.claimed_at is null
    returning m.id, m.to_number, m.from_number, m.messaging_service_sid, m.message_content, m.media, m.send_before,
        coalesce(m.send_at, m.created_at) as wanted_at
), attempted as (
    insert into sms_send_attempts (id, message_id, number, started_at)
    select i.attempt_id, c.id,
        1 + (select count(*) from sms_send_attempts a where a.message_id = c.id)::int, $3
    from claimed c join input i on i.message_id = c.id
    returning id, message_id, number
)
select c.id, a.id, a.number, c.to_number, c.from_number, c.messaging_service_sid, c.message_content, c.media,
    c.send_before, c.wanted_at
from claimed c join attempted a on a.message_id = c.id
union all
select r.id, null, 0, '', null, null, '', '[]', null, $3 from refused r
union all
select m.id, a.id, a.number, m.to_number, m.from_number, m.messaging_service_sid, m.message_content, m.media,
    m.send_before, coalesce(m.send_at, m.created_at)
from sms_send_attempts a join sms_messages m on m.id = a.message_id
where a.id = any($2) and a.outcome is null and m.claimed_at = $3 and m.delivery_status = 'pending'";

/// Claims messages, and refuses those that must not be sent any more. Returns the claims and the ids of the refused.
///
/// A message that is not pending, not due yet, or claimed by somebody else is in neither: there is nothing to do.
/// Attempts are written with the claim, so that a function that dies afterwards leaves its traces.
///
/// # Errors
///
/// [`DbError`]: none was claimed, or, when the connection broke twice, some are held by nobody: the sweep finds those.
pub async fn claim(db: &Db, ids: &[Uuid], now: Timestamp) -> Result<(Vec<Claimed>, Vec<Uuid>), DbError> {
    let attempts: Vec<Uuid> = ids.iter().map(|_| crate::clock::new_id()).collect();
    let params =
        [(&ids as _, Type::UUID_ARRAY), (&attempts as _, Type::UUID_ARRAY), (&now as _, Type::TIMESTAMPTZ)];
    let rows = db.query_idempotent("claim messages", CLAIM, &params).await?;
    let mut claims = Vec::with_capacity(rows.len());
    let mut refused = Vec::new();
    for row in &rows {
        match row.get::<_, Option<Uuid>>(1) {
            Some(attempt_id) => claims.push(claimed(row, attempt_id)),
            None => refused.push(row.get(0)),
        }
    }
    Ok((claims, refused))
}

fn claimed(row: &Row, attempt_id: Uuid) -> Claimed {
    let media: Value = row.get(7);
    let urls = media.as_array().into_iter().flatten().filter_map(|item| item["url"].as_str());
    Claimed {
        message_id: row.get(0),
        attempt_id,
        attempt_number: row.get(2),
        to: row.get(3),
        from: row.get(4),
        messaging_service_sid: row.get(5),
        message_content: row.get(6),
        media_urls: urls.map(str::to_owned).collect(),
        send_before: row.get(8),
        wanted_at: row.get(9),
    }
}

const OPTED_OUT_NOW: &str = "
select c.opted_out_at is not null
from sms_messages m join sms_conversations c on c.id = m.conversation_id where m.id = $1";

/// Tells whether a message's recipient has opted out by now: to be asked before each call to Twilio that does not
/// follow its claim at once.
///
/// # Errors
///
/// [`DbError`]: the message must not be sent before this is known.
pub async fn opted_out(db: &Db, message_id: Uuid) -> Result<bool, DbError> {
    let params = [(&message_id as _, Type::UUID)];
    let rows = db.query_idempotent("look for an opt-out", OPTED_OUT_NOW, &params).await?;
    Ok(rows.first().is_none_or(|row| row.get(0)))
}
