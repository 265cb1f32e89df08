//! Recording status callbacks: a whole batch in one statement.

use super::{Db, DbError, Json, Row, Type};
use crate::domain::message::Status;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use uuid::Uuid;

/// A status callback to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct NewStatus {
    /// The id that its entry in the history will have.
    pub id: Uuid,
    /// The message that Twilio speaks of.
    pub twilio_sid: String,
    /// Our own id, from the callback URL.
    pub message_id: Option<Uuid>,
    /// The status as Twilio wrote it.
    pub event_status: String,
    /// What that means for the message: `None` for what changes nothing.
    pub status: Option<Status>,
    /// Twilio's error code.
    pub error_code: Option<String>,
    /// The whole form.
    pub raw_webhook_data: Value,
    /// Whether NULs had to be removed from it.
    pub nul_removed: bool,
    /// When the webhook received it.
    pub received_at: Timestamp,
}

/// What became of a callback that was not known before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedStatus {
    /// Twilio's id of the message.
    pub twilio_sid: String,
    /// The message, if it is known.
    pub message_id: Option<Uuid>,
    /// Our id in the callback URL, when the SID belongs to another message: the SID wins.
    pub disagreeing_id: Option<Uuid>,
    /// Whether it contradicts a final status.
    pub contradicts: bool,
}

/// The steps of the statement:
/// - `input`: the callbacks, each once;
/// - `effect`: per SID, the status that the batch's callbacks lead to, folded by the domain;
/// - `target`: the message of each SID: by the SID, or else by our own id in the callback URL, if that message has no
///   SID yet: this is how a send whose answer was lost learns its SID;
/// - `appended`: the history, each (SID, status, error code) once;
/// - `moved`: the messages that move forward, or learn their SID: with that they count as queued at least, whatever the
///   callback says, since what Twilio knows must never be sent again. The guards stand in `where`, so that they are
///   checked again on the newest version of a row that somebody else was changing;
/// - `settled`: the attempts whose outcome was open until this callback told it;
/// - `opted`: handsets of which Twilio says that they opted out.
pub(crate) const RECORD: &str = "
with input as (
    select distinct on (twilio_sid, event_status, error_code) *
    from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::jsonb[], $7::bool[],
                $8::timestamptz[], $9::text[], $10::bool[]) with ordinality
        as t (id, twilio_sid, hint, event_status, error_code, raw_webhook_data, nul_removed, received_at,
              contradicted, contradicts_batch, position)
    order by twilio_sid, event_status, error_code, position
), effect as (
    select * from unnest($11::text[], $12::uuid[], $13::text[], $14::text[], $15::text[])
        as t (twilio_sid, hint, status, error_code, replaces)
), target as (
    select distinct on (coalesce(by_sid.id, by_id.id), e.twilio_sid)
           e.*, coalesce(by_sid.id, by_id.id) as message_id,
           coalesce(by_sid.delivery_status, by_id.delivery_status) as delivery_status,
           coalesce(by_sid.conversation_id, by_id.conversation_id) as conversation_id
    from effect e
    left join sms_messages by_sid on by_sid.twilio_sid = e.twilio_sid
    left join sms_messages by_id on by_id.id = e.hint and by_id.twilio_sid is null and by_id.direction = 'outbound'
), appended as (
    insert into sms_message_status_events (id, message_id, twilio_sid, event_status, error_code, contradicts,
        raw_webhook_data, nul_removed, created_at)
    select i.id, t.message_id, i.twilio_sid, i.event_status, i.error_code,
        i.contradicts_batch or coalesce(t.delivery_status = any(string_to_array(i.contradicted, ',')), false),
        i.raw_webhook_data, i.nul_removed, i.received_at
    from input i left join target t on t.twilio_sid = i.twilio_sid
    order by i.twilio_sid, i.event_status, i.error_code
    on conflict (twilio_sid, event_status, error_code) do nothing
    returning id, message_id, twilio_sid, error_code, contradicts, created_at
), locked as (
    select m.id from sms_messages m where m.id in (select t.message_id from target t)
    order by m.id for no key update
), moved as (
    update sms_messages m
    set twilio_sid = coalesce(m.twilio_sid, t.twilio_sid),
        delivery_status = case when m.delivery_status = any(string_to_array(t.replaces, ',')) then t.status
                               when m.delivery_status in ('pending', 'unknown') then 'queued'
                               else m.delivery_status end,
        error_code = case when m.delivery_status = any(string_to_array(t.replaces, ','))
                            or m.delivery_status in ('pending', 'unknown')
                          then t.error_code else m.error_code end
    from target t join locked l on l.id = t.message_id
    where m.id = t.message_id
      and (m.twilio_sid is null
           or (m.twilio_sid = t.twilio_sid and m.delivery_status = any(string_to_array(t.replaces, ','))))
    returning m.id, m.twilio_sid
), settled as (
    update sms_send_attempts a
    set outcome = 'accepted', twilio_sid = moved.twilio_sid,
        finished_at = coalesce(a.finished_at, $16), detail = 'told by the status callback'
    from moved
    where a.message_id = moved.id and (a.outcome is null or a.outcome = 'unknown')
), opted as (
    insert into sms_opt_out_events (id, conversation_id, action, source, words, evidence, created_at)
    select gen_random_uuid(), t.conversation_id, 'opt_out', 'twilio_error', '21610', a.twilio_sid, a.created_at
    from appended a join target t on t.twilio_sid = a.twilio_sid
    where a.error_code = '21610' and t.conversation_id is not null
    on conflict do nothing
)
select a.twilio_sid, a.message_id, case when t.hint <> a.message_id then t.hint end, a.contradicts
from appended a left join target t on t.twilio_sid = a.twilio_sid";

/// What the callbacks of one SID in a batch amount to.
#[derive(Debug, Clone, Default)]
struct Effect {
    hint: Option<Uuid>,
    status: Option<Status>,
    error_code: Option<String>,
}

impl Effect {
    /// Takes one more callback, and tells whether it contradicts an earlier one of the batch.
    fn fold(&mut self, callback: &NewStatus) -> bool {
        self.hint = self.hint.or(callback.message_id);
        let Some(next) = callback.status else { return false };
        match self.status {
            Some(held) if !held.may_become(next) => held.is_contradicted_by(next),
            _ => {
                self.status = Some(next);
                self.error_code.clone_from(&callback.error_code);
                false
            }
        }
    }
}

/// Joins the statuses for which `holds` into the form in which the statement takes a set.
fn joined(holds: impl Fn(Status) -> bool) -> String {
    let words: Vec<_> = Status::ALL.into_iter().filter(|status| holds(*status)).map(Status::as_str).collect();
    words.join(",")
}

/// Joins the statuses that a message may leave for `next`.
pub(in crate::db) fn replaced_by(next: Status) -> String {
    joined(|held| held.may_become(next))
}

/// Appends callbacks to the history, and moves their messages forward.
///
/// Free of effect for a callback that is recorded already. Callbacks of a message that is not known are kept.
///
/// # Errors
///
/// [`DbError`]; none of the callbacks is then recorded. When it [is about the data](DbError::is_about_the_data),
/// record them one by one to find the one at fault.
pub async fn record(
    db: &Db,
    callbacks: &[NewStatus],
    now: Timestamp,
) -> Result<Vec<RecordedStatus>, DbError> {
    let mut effects: HashMap<&str, Effect> = HashMap::new();
    let contradicts_batch: Vec<bool> =
        callbacks.iter().map(|c| effects.entry(&c.twilio_sid).or_default().fold(c)).collect();
    let contradicted: Vec<String> = callbacks
        .iter()
        .map(|c| c.status.map_or_else(String::new, |next| joined(|held| held.is_contradicted_by(next))))
        .collect();
    let effects: Vec<(&str, Effect)> = effects.into_iter().collect();
    let ids: Vec<Uuid> = callbacks.iter().map(|c| c.id).collect();
    let sids: Vec<&str> = callbacks.iter().map(|c| c.twilio_sid.as_str()).collect();
    let hints: Vec<Option<Uuid>> = callbacks.iter().map(|c| c.message_id).collect();
    let words: Vec<&str> = callbacks.iter().map(|c| c.event_status.as_str()).collect();
    let codes: Vec<Option<&str>> = callbacks.iter().map(|c| c.error_code.as_deref()).collect();
    let raw: Vec<_> = callbacks.iter().map(|c| Json(&c.raw_webhook_data)).collect();
    let nul_removed: Vec<bool> = callbacks.iter().map(|c| c.nul_removed).collect();
    let received: Vec<Timestamp> = callbacks.iter().map(|c| c.received_at).collect();
    let effect_sids: Vec<&str> = effects.iter().map(|(sid, _)| *sid).collect();
    let effect_hints: Vec<Option<Uuid>> = effects.iter().map(|(_, e)| e.hint).collect();
    let effect_statuses: Vec<Option<&str>> =
        effects.iter().map(|(_, e)| e.status.map(Status::as_str)).collect();
    let effect_codes: Vec<Option<&str>> = effects.iter().map(|(_, e)| e.error_code.as_deref()).collect();
    let replaces: Vec<String> =
        effects.iter().map(|(_, e)| e.status.map_or_else(String::new, replaced_by)).collect();
    let rows = db
        .query_idempotent(
            "record status callbacks",
            RECORD,
            &[
                (&ids, Type::UUID_ARRAY),
                (&sids, Type::TEXT_ARRAY),
                (&hints, Type::UUID_ARRAY),
                (&words, Type::TEXT_ARRAY),
                (&codes, Type::TEXT_ARRAY),
                (&raw, Type::JSONB_ARRAY),
                (&nul_removed, Type::BOOL_ARRAY),
                (&received, Type::TIMESTAMPTZ_ARRAY),
                (&contradicted, Type::TEXT_ARRAY),
                (&contradicts_batch, Type::BOOL_ARRAY),
                (&effect_sids, Type::TEXT_ARRAY),
                (&effect_hints, Type::UUID_ARRAY),
                (&effect_statuses, Type::TEXT_ARRAY),
                (&effect_codes, Type::TEXT_ARRAY),
                (&replaces, Type::TEXT_ARRAY),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    let recorded = |row: &Row| RecordedStatus {
        twilio_sid: row.get(0),
        message_id: row.get(1),
        disagreeing_id: row.get(2),
        contradicts: row.get(3),
    };
    Ok(rows.iter().map(recorded).collect())
}

const ORPHANS: &str = "
select m.id, e.id, e.event_status, e.error_code
from sms_message_status_events e join sms_messages m on m.twilio_sid = e.twilio_sid
where e.message_id is null and ($1::text is null or e.twilio_sid = $1)
order by m.id, e.created_at, e.id limit 500";

/// A handset that opted out is entered into the ledger here if it could not be when the callback came.
const ADOPT: &str = "
with adopted as (
    update sms_message_status_events set message_id = $1 where id = any($2) and message_id is null
    returning twilio_sid, error_code, created_at
), moved as (
    update sms_messages m
    set delivery_status = $3, error_code = $4
    where m.id = $1 and m.delivery_status = any(string_to_array($5, ','))
)
insert into sms_opt_out_events (id, conversation_id, action, source, words, evidence, created_at)
select gen_random_uuid(), m.conversation_id, 'opt_out', 'twilio_error', '21610', a.twilio_sid, min(a.created_at)
from adopted a join sms_messages m on m.id = $1
where a.error_code = '21610'
group by m.conversation_id, a.twilio_sid
on conflict do nothing";

/// Joins callbacks that came before their message was known to the message of their SID, and moves it forward.
///
/// With a `twilio_sid` it looks for that one's only; without, for all, as a sweep does after a function died between
/// storing an SID and this. Returns how many callbacks were joined.
///
/// # Errors
///
/// [`DbError`]; what was not joined is found by the next sweep.
pub async fn join_orphans(db: &Db, twilio_sid: Option<&str>) -> Result<usize, DbError> {
    let rows =
        db.query_idempotent("find early status callbacks", ORPHANS, &[(&twilio_sid, Type::TEXT)]).await?;
    for of_one in rows.chunk_by(|a, b| a.get::<_, Uuid>(0) == b.get::<_, Uuid>(0)) {
        let message_id: Uuid = of_one[0].get(0);
        let events: Vec<Uuid> = of_one.iter().map(|row| row.get(1)).collect();
        let mut held: Option<(Status, Option<String>)> = None;
        for row in of_one {
            let next = Status::from_twilio(row.get(2));
            if let Some(next) =
                next.filter(|next| held.as_ref().is_none_or(|(held, _)| held.may_become(*next)))
            {
                held = Some((next, row.get(3)));
            }
        }
        let (status, code) = held.map_or((None, None), |(status, code)| (Some(status), code));
        db.query_idempotent(
            "join early status callbacks",
            ADOPT,
            &[
                (&message_id, Type::UUID),
                (&events, Type::UUID_ARRAY),
                (&status.map(Status::as_str), Type::TEXT),
                (&code, Type::TEXT),
                (&status.map_or_else(String::new, replaced_by), Type::TEXT),
            ],
        )
        .await?;
    }
    Ok(rows.len())
}
