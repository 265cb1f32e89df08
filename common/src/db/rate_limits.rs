//! Usage of the limits of requested messages.

use super::sends::IDEMPOTENCY_TTL;
use super::{Db, DbError, Statement, params, row, statements};
use crate::clock;
use crate::domain::message::Purpose;
use crate::domain::phone::E164;
use crate::domain::rate_limit::{KeyWindow, Minute, Quota, RECIPIENT_WINDOW};
use crate::domain::sids::AccountSid;
use jiff::Timestamp;
use uuid::Uuid;

/// How many rows a key has per minute. Each request updates a random one, so few wait for each other.
const SHARDS: f64 = 16.0;

row! {
    struct Usage {
        last_minute: i64,
        this_minute: i64,
        to_recipient: i64,
        oldest_at: Option<Timestamp>,
        is_repeated: bool,
        opted_out: bool,
        is_counted: bool,
    }
}

/// Checks both limits, and then adds to a shard of the key. A refused request adds nothing. Statements that run at the
/// same time do not see each other, so their messages can exceed a limit together. What was committed before is seen.
///
/// - `recent`: the newest messages to the recipient in 24 hours, at most as many as are allowed. Automatic replies do
///   not count. Without a limit, none is read.
/// - `state`: the sums of all shards; whether the request was made before; whether the recipient has opted out.
/// - `added`: the condition is [`KeyWindow::allows`], in milliseconds. A null limit of the key adds nothing.
const COUNT: Statement<Usage> = Statement::new(
    "count messages of a key",
    "
with recipient as (
    select c.id,
        sms_refuses(c.opted_out_at, c.opted_out_scopes, coalesce($workflow_type, c.workflow_type), $purpose)
            as opted_out
    from sms_conversations c where c.account_sid = $account_sid and c.phone_number_canonical = $number
), recent as (
    select count(*) as to_recipient, min(m.created_at) as oldest_at
    from recipient r cross join lateral (
        select m.created_at from sms_messages m
        where m.conversation_id = r.id and m.created_at > $since and m.direction = 'outbound' and m.in_reply_to is null
        order by m.created_at desc limit coalesce($recipient_limit::int8, 0)) m
), state as (
    select k.last_minute, k.this_minute, r.to_recipient, r.oldest_at,
        exists (select from idempotency_keys i
            where i.api_key_id = $api_key_id and i.idempotency_key = $idempotency_key
                and i.created_at >= $remembered_since) as is_repeated,
        exists (select from recipient o where o.opted_out) as opted_out
    from recent r cross join (
        select coalesce(sum(u.used) filter (where u.minute < $minute), 0) as last_minute,
            coalesce(sum(u.used) filter (where u.minute = $minute), 0) as this_minute
        from sms_key_usage u where u.api_key_id = $api_key_id and u.minute between $last_start and $minute) k
), added as (
    insert into sms_key_usage as u (api_key_id, minute, shard, used)
    select $api_key_id::uuid, $minute::timestamptz, $shard::int2, $messages::int4 from state s
    where not s.is_repeated and not s.opted_out
        and ($recipient_limit::int8 is null or s.to_recipient < $recipient_limit::int8)
        and $messages::int4 * 60000::int8
            <= ($key_limit::int8 - s.this_minute) * 60000 - s.last_minute * $left_ms::int8
    on conflict (api_key_id, minute, shard) do update set used = u.used + excluded.used
    returning u.shard
)
select s.*, exists (select from added) as is_counted from state s",
);

/// A request whose messages are counted.
#[derive(Debug, Clone, Copy)]
pub struct Requested<'a> {
    /// The API key.
    pub api_key_id: Uuid,
    /// The limit of the key per minute.
    pub key_limit: Option<u32>,
    /// The number of messages.
    pub messages: i32,
    /// The Twilio account.
    pub account_sid: &'a AccountSid,
    /// The recipient of a single message.
    pub recipient: Option<&'a E164>,
    /// The limit of the recipient in 24 hours.
    pub recipient_limit: Option<u32>,
    /// The workflow of a single message.
    pub workflow_type: Option<&'a str>,
    /// The purpose of a single message.
    pub purpose: Purpose,
    /// The `Idempotency-Key`, unless it was looked up before.
    pub idempotency_key: Option<&'a str>,
    /// When the request was received.
    pub at: Timestamp,
}

/// Whether a request is within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// It is. Its messages are counted, with this rest, if the key has a limit.
    Allowed(Option<Quota>),
    /// It is not.
    Refused(Quota),
    /// Not counted, whatever the limits are: it repeats an earlier request, or the recipient has opted out.
    NotCounted,
}

/// Counts the messages of a request if they are within the limits of its key and its recipient.
///
/// # Errors
///
/// [`DbError`]: the messages may be counted.
pub async fn count(db: &Db, requested: &Requested<'_>) -> Result<Count, DbError> {
    let minute = Minute::of(requested.at);
    let params = params! {
        api_key_id: requested.api_key_id,
        key_limit: requested.key_limit.map(i64::from),
        messages: requested.messages,
        account_sid: requested.account_sid,
        number: requested.recipient,
        recipient_limit: requested.recipient_limit.map(i64::from),
        workflow_type: requested.workflow_type,
        purpose: requested.purpose,
        since: requested.at - RECIPIENT_WINDOW,
        idempotency_key: requested.idempotency_key,
        remembered_since: requested.at - IDEMPOTENCY_TTL,
        minute: minute.start,
        last_start: minute.last_start(),
        left_ms: minute.left_ms,
        // Truncated.
        shard: (clock::random_fraction() * SHARDS) as i16,
    };
    // Not quite idempotent: if the connection was lost after the commit, the messages are counted twice for a minute.
    let usage = db.query_idempotent(&COUNT, &params).await?.into_iter().next();
    let usage = usage.ok_or_else(|| DbError::Decode {
        operation: "count messages of a key",
        source: "no row came back".into(),
    })?;
    Ok(judge(requested, minute, &usage))
}

fn judge(requested: &Requested<'_>, minute: Minute, usage: &Usage) -> Count {
    if usage.is_repeated || usage.opted_out {
        return Count::NotCounted;
    }
    if let Some(limit) = requested.recipient_limit
        && usage.to_recipient >= i64::from(limit)
    {
        return Count::Refused(Quota::used_up(limit, usage.oldest_at.unwrap_or(requested.at), requested.at));
    }
    let Some(limit) = requested.key_limit else { return Count::Allowed(None) };
    let before = KeyWindow {
        limit,
        last_minute: usage.last_minute,
        this_minute: usage.this_minute,
        left_ms: minute.left_ms,
    };
    let messages = i64::from(requested.messages);
    if usage.is_counted {
        let after = KeyWindow { this_minute: before.this_minute + messages, ..before };
        Count::Allowed(Some(after.quota()))
    } else {
        Count::Refused(before.refusal(messages))
    }
}

statements!(COUNT);
