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

/// The steps of the statement:
/// - `held`: the message, locked before its attempt, as everywhere;
/// - `attempt`: its end, unless it is known already. An SID is kept in any case: even a create that was taken for absent;
/// - `finished`: the claim ends, if no later attempt holds it by now. The rest only follows from an outcome that was
///   open: a status callback may have come before the answer, and what it said of the message stays;
/// - `blocked`: the carrier's word that it blocks messages to this number;
/// - last, a 21610 enters the ledger of opt-outs.
pub(crate) const FINISH: &str = "
with held as (
    select m.id from sms_messages m where m.id = $1 for no key update
), attempt as (
    update sms_send_attempts a
    set outcome = $3, twilio_sid = coalesce($5, a.twilio_sid), error_code = $6, detail = $7, finished_at = $9
    from held
    where a.id = $2 and (a.outcome is null or a.outcome = 'unknown' or ($5::text is not null and a.twilio_sid is null))
    returning a.id
), finished as (
    update sms_messages m
    set claimed_at = null,
        twilio_sid = case when attempt.id is null then m.twilio_sid else coalesce(m.twilio_sid, $5) end,
        delivery_status = case when attempt.id is not null and m.delivery_status = any(string_to_array($10, ','))
                               then $4 else m.delivery_status end,
        error_code = case when attempt.id is not null
                            and (m.delivery_status = any(string_to_array($10, ',')) or m.delivery_status = 'pending')
                          then $6 else m.error_code end,
        next_attempt_at = case when attempt.id is null then m.next_attempt_at
                               else coalesce($8, m.next_attempt_at) end,
        enqueued_at = case when attempt.id is null or $8::timestamptz is null then m.enqueued_at end
    from held left join attempt on true
    where m.id = held.id
      and not exists (select from sms_send_attempts later join sms_send_attempts this on this.message_id = later.message_id
                      where this.id = $2 and later.number > this.number)
    returning m.conversation_id, m.from_number
), blocked as (
    update sms_conversations c set carrier_blocked_at = $9
    from finished f where c.id = f.conversation_id and $6 = '30004' and c.carrier_blocked_at is null
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
