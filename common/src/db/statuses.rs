//! Records a batch of status callbacks in one statement.

use super::{Db, DbError, Json, Row, Type};
use crate::domain::message::Status;
use crate::domain::renewal::Renewals;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use uuid::Uuid;

/// A status callback to record.
#[derive(Debug, Clone, PartialEq)]
pub struct NewStatus {
    /// The id of its entry in the history.
    pub id: Uuid,
    /// The message SID.
    pub twilio_sid: String,
    /// Our own id, from the callback URL.
    pub message_id: Option<Uuid>,
    /// The status as received.
    pub event_status: String,
    /// The status of the message, or `None` if the callback changes nothing.
    pub status: Option<Status>,
    /// Twilio's error code.
    pub error_code: Option<String>,
    /// The whole form.
    pub raw_webhook_data: Value,
    /// Whether NUL characters were removed from it.
    pub nul_removed: bool,
    /// When the webhook received it, or Twilio's time if it was found by reconciliation.
    pub received_at: Timestamp,
}

/// The effect of a new callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedStatus {
    /// The message SID.
    pub twilio_sid: String,
    /// The message, if it is known.
    pub message_id: Option<Uuid>,
    /// Our id in the callback URL, if the SID belongs to another message. The SID wins.
    pub disagreeing_id: Option<Uuid>,
    /// Whether it contradicts a final status.
    pub contradicts: bool,
    /// When the message is created again, after a transient failure.
    pub renewed_at: Option<Timestamp>,
}

/// Its steps are described in `migrations/functions/sms_record_statuses.sql`.
pub(crate) const RECORD: &str = "
select twilio_sid, message_id, disagreeing_id, contradicts, renewed_at
from sms_record_statuses($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";

/// The combined effect of all callbacks of one SID in a batch.
#[derive(Debug, Clone, Default)]
struct Effect {
    hint: Option<Uuid>,
    status: Option<Status>,
    error_code: Option<String>,
}

impl Effect {
    /// Adds a callback. Returns whether it contradicts an earlier one of the batch.
    fn fold(&mut self, callback: &NewStatus) -> bool {
        self.hint = self.hint.or(callback.message_id);
        let Some(next) = callback.status else { return false };
        if self.error_code.is_none() {
            self.error_code.clone_from(&callback.error_code);
        }
        match self.status {
            Some(held) if !held.may_become(next) => held.is_contradicted_by(next),
            _ => {
                self.status = Some(next);
                false
            }
        }
    }

    /// The first error code of the callbacks. A delivered message has none.
    fn error_code(&self) -> Option<&str> {
        let arrived = matches!(self.status, Some(Status::Delivered | Status::Read));
        self.error_code.as_deref().filter(|_| !arrived)
    }

    /// The delays in seconds before each further create after such a failure, comma-separated.
    fn renewed_after(&self, renewals: &dyn Renewals) -> String {
        let failed = matches!(self.status, Some(Status::Failed | Status::Undelivered));
        let Some(code) = self.error_code().filter(|_| failed) else { return String::new() };
        let seconds: Vec<String> =
            renewals.after(code).iter().map(|delay| delay.as_secs_f64().to_string()).collect();
        seconds.join(",")
    }
}

/// Joins the statuses for which `holds`, in the format of the statement.
fn joined(holds: impl Fn(Status) -> bool) -> String {
    let words: Vec<_> = Status::ALL.into_iter().filter(|status| holds(*status)).map(Status::as_str).collect();
    words.join(",")
}

/// Joins the statuses from which a message may change to `next`.
pub(in crate::db) fn replaced_by(next: Status) -> String {
    joined(|held| held.may_become(next))
}

/// Appends callbacks to the history and moves their messages forward, or back to pending for another create.
///
/// Idempotent. Callbacks of unknown messages are stored.
///
/// # Errors
///
/// [`DbError`]: none is recorded. If it [is about the data](DbError::is_about_the_data), record them one by one.
pub async fn record(
    db: &Db,
    callbacks: &[NewStatus],
    renewals: &dyn Renewals,
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
    let words: Vec<&str> = callbacks.iter().map(|c| c.event_status.as_str()).collect();
    let codes: Vec<Option<&str>> = callbacks.iter().map(|c| c.error_code.as_deref()).collect();
    let raw: Vec<_> = callbacks.iter().map(|c| Json(&c.raw_webhook_data)).collect();
    let nul_removed: Vec<bool> = callbacks.iter().map(|c| c.nul_removed).collect();
    let received: Vec<Timestamp> = callbacks.iter().map(|c| c.received_at).collect();
    let effect_sids: Vec<&str> = effects.iter().map(|(sid, _)| *sid).collect();
    let effect_hints: Vec<Option<Uuid>> = effects.iter().map(|(_, e)| e.hint).collect();
    let effect_statuses: Vec<Option<&str>> =
        effects.iter().map(|(_, e)| e.status.map(Status::as_str)).collect();
    let effect_codes: Vec<Option<&str>> = effects.iter().map(|(_, e)| e.error_code()).collect();
    let replaces: Vec<String> =
        effects.iter().map(|(_, e)| e.status.map_or_else(String::new, replaced_by)).collect();
    let renewed_after: Vec<String> = effects.iter().map(|(_, e)| e.renewed_after(renewals)).collect();
    let max_age = renewals.max_age().as_secs_f64();
    let rows = db
        .query_idempotent(
            "record status callbacks",
            RECORD,
            &[
                (&ids, Type::UUID_ARRAY),
                (&sids, Type::TEXT_ARRAY),
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
                (&renewed_after, Type::TEXT_ARRAY),
                (&max_age, Type::FLOAT8),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    let recorded = |row: &Row| RecordedStatus {
        twilio_sid: row.get(0),
        message_id: row.get(1),
        disagreeing_id: row.get(2),
        contradicts: row.get(3),
        renewed_at: row.get(4),
    };
    Ok(rows.iter().map(recorded).collect())
}

/// Callbacks that arrived before their message or attempt was known, which is known now.
pub(crate) const ORPHANS: &str = "
select e.twilio_sid, e.event_status, e.error_code, e.raw_webhook_data, e.nul_removed, e.created_at
from sms_message_status_events e
where e.message_id is null and ($1::text is null or e.twilio_sid = $1)
  and (exists (select from sms_messages m where m.twilio_sid = e.twilio_sid)
       or exists (select from sms_send_attempts a where a.twilio_sid = e.twilio_sid))
order by e.twilio_sid, e.created_at, e.id limit 500";

/// Applies callbacks that arrived before their message was known, by recording them again.
///
/// With a `twilio_sid` only those of this SID. Without, all of them, for functions that crashed after storing a SID.
/// Returns the number of applied callbacks.
///
/// # Errors
///
/// [`DbError`]: the next run applies the rest.
pub async fn join_orphans(
    db: &Db,
    twilio_sid: Option<&str>,
    renewals: &dyn Renewals,
    now: Timestamp,
) -> Result<usize, DbError> {
    let rows =
        db.query_idempotent("find early status callbacks", ORPHANS, &[(&twilio_sid, Type::TEXT)]).await?;
    let orphan = |row: &Row| NewStatus {
        id: crate::clock::new_id(),
        twilio_sid: row.get(0),
        message_id: None,
        status: Status::from_twilio(row.get(1)),
        event_status: row.get(1),
        error_code: row.get(2),
        raw_webhook_data: row.get(3),
        nul_removed: row.get(4),
        received_at: row.get(5),
    };
    let orphans: Vec<NewStatus> = rows.iter().map(orphan).collect();
    if !orphans.is_empty() {
        record(db, &orphans, renewals, now).await?;
    }
    Ok(orphans.len())
}
