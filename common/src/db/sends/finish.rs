//! What came of a call to Twilio.

use super::claim::Claimed;
use crate::db::statuses::replaced_by;
use crate::db::{Db, DbError, Type};
use crate::domain::message::Status;
use jiff::Timestamp;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Twilio took the message.
    Accepted {
        /// Twilio's id for it.
        twilio_sid: String,
        /// The status that Twilio gave it.
        status: Status,
    },
    /// Twilio surely did not process it: it is tried again then.
    Deferred {
        /// When.
        next_attempt_at: Timestamp,
        /// Twilio's error code, if there is one.
        error_code: Option<String>,
        /// What happened.
        detail: String,
    },
    /// It will not be sent.
    Failed {
        /// Whether Twilio itself refused it, or we gave up trying.
        by_twilio: bool,
        /// Twilio's error code, or a word of ours.
        error_code: String,
        /// What happened.
        detail: String,
    },
    /// It can't be told whether Twilio took it: it is not tried again until that is known.
    Unknown {
        /// What happened.
        detail: String,
    },
}

impl Outcome {
    fn attempt(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Deferred { .. } | Self::Failed { by_twilio: false, .. } => "not_processed",
            Self::Failed { by_twilio: true, .. } => "rejected",
            Self::Unknown { .. } => "unknown",
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Accepted { status, .. } => *status,
            Self::Deferred { .. } => Status::Pending,
            Self::Failed { .. } => Status::Failed,
            Self::Unknown { .. } => Status::Unknown,
        }
    }
}

/// The message and its attempt in one statement. A status callback may have come before the answer: the message then
/// has its SID and a later status, which stay; only the claim ends. A 21610 enters the ledger of opt-outs.
pub(crate) const FINISH: &str = "
with attempt as (
    update sms_send_attempts
    set outcome = $3, twilio_sid = coalesce($5, twilio_sid), error_code = $6, detail = $7, finished_at = $9
    where id = $2 and (outcome is null or outcome = 'unknown')
), finished as (
    update sms_messages m
    set claimed_at = null,
        twilio_sid = coalesce(m.twilio_sid, $5),
        delivery_status =
            case when m.delivery_status = any(string_to_array($10, ',')) then $4 else m.delivery_status end,
        error_code = case when m.delivery_status = any(string_to_array($10, ',')) or m.delivery_status = 'pending'
                          then $6 else m.error_code end,
        next_attempt_at = coalesce($8, m.next_attempt_at),
        enqueued_at = case when $8::timestamptz is null then m.enqueued_at end
    where m.id = $1
    returning m.conversation_id, m.from_number
)
insert into sms_opt_out_events (id, conversation_id, action, source, words, our_number, evidence, created_at)
select gen_random_uuid(), f.conversation_id, 'opt_out', 'twilio_error', '21610', f.from_number, $2::text, $9
from finished f where $6 = '21610'
on conflict do nothing";

/// Records how an attempt ended.
///
/// # Errors
///
/// [`DbError`]: worth another try, since the claim keeps everybody else away; if it can't be recorded, the sweep
/// takes the message for one with an unknown outcome.
pub async fn finish(db: &Db, claim: &Claimed, outcome: &Outcome, now: Timestamp) -> Result<(), DbError> {
    let (sid, code, detail, next) = match outcome {
        Outcome::Accepted { twilio_sid, .. } => (Some(twilio_sid.as_str()), None, None, None),
        Outcome::Deferred { next_attempt_at, error_code, detail } => {
            (None, error_code.as_deref(), Some(detail.as_str()), Some(*next_attempt_at))
        }
        Outcome::Failed { error_code, detail, .. } => {
            (None, Some(error_code.as_str()), Some(detail.as_str()), None)
        }
        Outcome::Unknown { detail } => (None, None, Some(detail.as_str()), None),
    };
    db.query_idempotent(
        "record the outcome of a send",
        FINISH,
        &[
            (&claim.message_id, Type::UUID),
            (&claim.attempt_id, Type::UUID),
            (&outcome.attempt(), Type::TEXT),
            (&outcome.status().as_str(), Type::TEXT),
            (&sid, Type::TEXT),
            (&code, Type::TEXT),
            (&detail, Type::TEXT),
            (&next, Type::TIMESTAMPTZ),
            (&now, Type::TIMESTAMPTZ),
            (&replaced_by(outcome.status()), Type::TEXT),
        ],
    )
    .await?;
    Ok(())
}
