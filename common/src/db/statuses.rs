//! Records a batch of status callbacks in one statement.

use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::delivery_failure::FailurePolicy;
use crate::domain::event::{EventData, EventType, OptedOut};
use crate::domain::ids::MessageId;
use crate::domain::message::Status;
use crate::domain::opt_out::OptOutSource;
use crate::domain::sids::MessageSid;
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
    pub twilio_sid: MessageSid,
    /// Our own id, from the callback URL.
    pub message_id: Option<MessageId>,
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

row! {
    /// The effect of a new callback.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RecordedStatus {
        /// The message SID.
        pub twilio_sid: MessageSid,
        /// The message, if it is known.
        pub message_id: Option<MessageId>,
        /// Our id in the callback URL, if the SID belongs to another message. The SID wins.
        pub disagreeing_id: Option<MessageId>,
        /// Whether it contradicts a final status.
        pub contradicts: bool,
        /// When the message is created again, after a transient failure.
        pub renewed_at: Option<Timestamp>,
        /// When the message was to be sent: `send_at`, or the time of the request.
        pub wanted_at: Option<Timestamp>,
    }
}

/// Its steps are described in `migrations/functions/sms_record_statuses.sql`.
const RECORD: Statement<RecordedStatus> = Statement::new(
    "record status callbacks",
    "
select twilio_sid, message_id, disagreeing_id, contradicts, renewed_at,
    (select coalesce(m.send_at, m.created_at) from sms_messages m where m.id = message_id) as wanted_at
from sms_record_statuses(
    ids => $ids, sids => $twilio_sids, words => $event_statuses, codes => $error_codes, raw_data => $raw_webhook_data,
    nuls_removed => $nul_removed, received => $received_at, contradicted => $contradicted,
    contradicts_batch => $contradicts_batch, recipient_effects => $recipient_effects, effect_sids => $effect_sids,
    effect_hints => $effect_message_ids,
    effect_statuses => $effect_statuses, effect_codes => $effect_error_codes, effect_replaces => $effect_replaces,
    effect_renewals => $effect_renewals, max_age_seconds => $max_age_seconds, at => $now,
    status_event => $status_event, failed_event => $failed_event, opted_out_event => $opted_out_event,
    opted_out_data => $opted_out_data)",
);

/// The combined effect of all callbacks of one SID in a batch.
#[derive(Debug, Clone, Default)]
struct Effect {
    hint: Option<MessageId>,
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

    /// The statuses that the new one replaces, comma-separated.
    fn replaces(&self) -> String {
        self.status.map_or_else(String::new, replaced_by)
    }

    /// The delays in seconds before each further create after such a failure, comma-separated.
    fn renewed_after(&self, failures: &dyn FailurePolicy) -> String {
        let failed = matches!(self.status, Some(Status::Failed | Status::Undelivered));
        let Some(code) = self.error_code().filter(|_| failed) else { return String::new() };
        let seconds: Vec<String> =
            failures.after(code).iter().map(|delay| delay.as_secs_f64().to_string()).collect();
        seconds.join(",")
    }
}

/// Returns the data of the event of an opt-out that an error code reports.
pub(in crate::db) fn opted_out_by_error() -> String {
    OptedOut { source: OptOutSource::TwilioError, scope: None }.json()
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
    failures: &dyn FailurePolicy,
    now: Timestamp,
) -> Result<Vec<RecordedStatus>, DbError> {
    let mut effects: HashMap<&MessageSid, Effect> = HashMap::new();
    let contradicts_batch: Vec<bool> =
        callbacks.iter().map(|c| effects.entry(&c.twilio_sid).or_default().fold(c)).collect();
    let contradicted: Vec<String> = callbacks
        .iter()
        .map(|c| c.status.map_or_else(String::new, |next| joined(|held| held.is_contradicted_by(next))))
        .collect();
    let effects: Vec<(&MessageSid, Effect)> = effects.into_iter().collect();
    let params = params! {
        ids: callbacks.iter().map(|c| c.id).collect::<Vec<_>>(),
        twilio_sids: callbacks.iter().map(|c| &c.twilio_sid).collect::<Vec<_>>(),
        event_statuses: callbacks.iter().map(|c| c.event_status.as_str()).collect::<Vec<_>>(),
        error_codes: callbacks.iter().map(|c| c.error_code.as_deref()).collect::<Vec<_>>(),
        raw_webhook_data: callbacks.iter().map(|c| &c.raw_webhook_data).collect::<Vec<_>>(),
        nul_removed: callbacks.iter().map(|c| c.nul_removed).collect::<Vec<_>>(),
        received_at: callbacks.iter().map(|c| c.received_at).collect::<Vec<_>>(),
        contradicted,
        contradicts_batch,
        recipient_effects: callbacks
            .iter()
            .map(|c| c.error_code.as_deref().and_then(|code| failures.recipient_effect(code)))
            .collect::<Vec<_>>(),
        effect_sids: effects.iter().map(|(sid, _)| *sid).collect::<Vec<_>>(),
        effect_message_ids: effects.iter().map(|(_, e)| e.hint).collect::<Vec<_>>(),
        effect_statuses: effects.iter().map(|(_, e)| e.status).collect::<Vec<_>>(),
        effect_error_codes: effects.iter().map(|(_, e)| e.error_code()).collect::<Vec<_>>(),
        effect_replaces: effects.iter().map(|(_, e)| e.replaces()).collect::<Vec<_>>(),
        effect_renewals: effects.iter().map(|(_, e)| e.renewed_after(failures)).collect::<Vec<_>>(),
        max_age_seconds: failures.max_age().as_secs_f64(),
        now,
        status_event: EventType::MessageStatus,
        failed_event: EventType::MessageFailed,
        opted_out_event: EventType::OptedOut,
        opted_out_data: opted_out_by_error(),
    };
    db.query_idempotent(&RECORD, &params).await
}

row! {
    struct Orphan {
        twilio_sid: MessageSid,
        event_status: String,
        error_code: Option<String>,
        created_at: Timestamp,
    }
}

/// Callbacks that arrived before their message or attempt was known, which is known now.
const ORPHANS: Statement<Orphan> = Statement::new(
    "find early status callbacks",
    "
select sms_unpack_sid(c.packed_sid) as twilio_sid, c.event_status, c.error_code, c.created_at
from sms_callbacks c join sms_message_sids s on s.packed_sid = c.packed_sid
where c.message_id is null and ($twilio_sid::text is null or c.packed_sid = sms_pack_sid($twilio_sid))
order by c.packed_sid, c.created_at, c.event_id limit 500",
);

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
    twilio_sid: Option<&MessageSid>,
    failures: &dyn FailurePolicy,
    now: Timestamp,
) -> Result<usize, DbError> {
    let orphan = |orphan: Orphan| NewStatus {
        id: crate::clock::new_id(),
        twilio_sid: orphan.twilio_sid,
        message_id: None,
        status: Status::from_twilio(&orphan.event_status),
        event_status: orphan.event_status,
        error_code: orphan.error_code,
        // Stored with the callback, which this one only joins to its message.
        raw_webhook_data: Value::Null,
        nul_removed: false,
        received_at: orphan.created_at,
    };
    let rows = db.query_idempotent(&ORPHANS, &params! { twilio_sid }).await?;
    let orphans: Vec<NewStatus> = rows.into_iter().map(orphan).collect();
    if !orphans.is_empty() {
        record(db, &orphans, failures, now).await?;
    }
    Ok(orphans.len())
}

statements!(RECORD, ORPHANS);
