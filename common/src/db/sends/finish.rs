//! Records the outcomes of calls to Twilio.

use super::claim::Claimed;
use crate::db::statuses::{opted_out_by_error, replaced_by};
use crate::db::types::text_enums;
use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::delivery_failure::RecipientEffect;
use crate::domain::event::EventType;
use crate::domain::ids::MessageId;
use crate::domain::message::{AttemptOutcome, Status};
use crate::domain::named::named_enum;
use crate::domain::sids::MessageSid;
use jiff::Timestamp;

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum SendResult {
    /// Twilio accepted the message.
    Accepted {
        /// The message SID.
        twilio_sid: MessageSid,
        /// Twilio's status.
        status: Status,
    },
    /// Twilio certainly did not process it. It is retried.
    Deferred {
        /// The time of the retry.
        next_attempt_at: Timestamp,
        /// Twilio's error code, if it has one.
        error_code: Option<String>,
        /// The details, for people.
        detail: String,
    },
    /// It failed permanently.
    Failed {
        /// Whether Twilio rejected it, or the retries ended.
        by_twilio: bool,
        /// Twilio's error code, or our own.
        error_code: String,
        /// What the failure says about the recipient.
        recipient: Option<RecipientEffect>,
        /// The details, for people.
        detail: String,
    },
    /// It is not known whether Twilio accepted it. There is no retry until that is known.
    Unknown {
        /// The details, for people.
        detail: String,
    },
    /// It cannot be determined whether Twilio accepted it. An operator must decide.
    Parked {
        /// The details, for people.
        detail: String,
    },
}

/// The result of recording outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finished {
    /// SIDs with earlier callbacks, for [`join_orphans`](crate::db::statuses::join_orphans).
    pub early: Vec<MessageSid>,
    /// Parked messages, including those that Twilio accepted under the SID of another message.
    pub parked: Vec<MessageId>,
}

impl SendResult {
    fn attempt(&self) -> AttemptOutcome {
        match self {
            Self::Accepted { .. } => AttemptOutcome::Accepted,
            Self::Deferred { .. } | Self::Failed { by_twilio: false, .. } => AttemptOutcome::NotProcessed,
            Self::Failed { by_twilio: true, .. } => AttemptOutcome::Rejected,
            Self::Unknown { .. } | Self::Parked { .. } => AttemptOutcome::Unknown,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Accepted { status, .. } => *status,
            Self::Deferred { .. } => Status::Pending,
            Self::Failed { .. } => Status::Failed,
            Self::Unknown { .. } | Self::Parked { .. } => Status::Unknown,
        }
    }

    fn twilio_sid(&self) -> Option<&MessageSid> {
        match self {
            Self::Accepted { twilio_sid, .. } => Some(twilio_sid),
            Self::Deferred { .. } | Self::Failed { .. } | Self::Unknown { .. } | Self::Parked { .. } => None,
        }
    }

    fn error_code(&self) -> Option<&str> {
        match self {
            Self::Accepted { .. } | Self::Unknown { .. } | Self::Parked { .. } => None,
            Self::Deferred { error_code, .. } => error_code.as_deref(),
            Self::Failed { error_code, .. } => Some(error_code),
        }
    }

    fn detail(&self) -> Option<&str> {
        match self {
            Self::Accepted { .. } => None,
            Self::Deferred { detail, .. }
            | Self::Failed { detail, .. }
            | Self::Unknown { detail }
            | Self::Parked { detail } => Some(detail),
        }
    }

    fn recipient(&self) -> Option<RecipientEffect> {
        match self {
            Self::Failed { recipient, .. } => *recipient,
            Self::Accepted { .. } | Self::Deferred { .. } | Self::Unknown { .. } | Self::Parked { .. } => {
                None
            }
        }
    }

    fn next_attempt_at(&self) -> Option<Timestamp> {
        match self {
            Self::Deferred { next_attempt_at, .. } => Some(*next_attempt_at),
            Self::Accepted { .. } | Self::Failed { .. } | Self::Unknown { .. } | Self::Parked { .. } => None,
        }
    }
}

named_enum! {
    /// The kind of a row.
    enum Kind: "a kind of row" {
        /// A SID with earlier callbacks.
        Early = "early",
        /// A parked message.
        Parked = "parked",
    }
}

text_enums!(Kind);

row! {
    struct Found {
        kind: Kind,
        twilio_sid: Option<MessageSid>,
        message_id: Option<MessageId>,
    }
}

/// Its steps are described in `migrations/functions/sms_finish_sends.sql`.
const FINISH: Statement<Found> = Statement::new(
    "record the outcomes of sends",
    "
select kind, twilio_sid, message_id
from sms_finish_sends(
    message_ids => $message_ids, attempt_ids => $attempt_ids, outcomes => $outcomes, statuses => $statuses,
    sids => $twilio_sids, codes => $error_codes, details => $details, nexts => $next_attempts, replaces => $replaces,
    parks => $parks, effects => $recipient_effects, ended_at => $now, status_event => $status_event,
    failed_event => $failed_event, opted_out_event => $opted_out_event, opted_out_data => $opted_out_data)",
);

/// Records outcomes. A message that Twilio accepted under the SID of another message is parked.
///
/// # Errors
///
/// [`DbError`]: none is recorded. Retry, because the claims are still valid; `retry-sends` marks what stays unrecorded
/// as unknown. If it [is about the data](DbError::is_about_the_data), record them one by one.
pub async fn finish(db: &Db, ended: &[(&Claimed, &SendResult)], now: Timestamp) -> Result<Finished, DbError> {
    let column = |of: fn(&SendResult) -> Option<&str>| {
        ended.iter().map(|(_, outcome)| of(outcome)).collect::<Vec<_>>()
    };
    let params = params! {
        message_ids: ended.iter().map(|(claim, _)| claim.message_id).collect::<Vec<_>>(),
        attempt_ids: ended.iter().map(|(claim, _)| claim.attempt_id).collect::<Vec<_>>(),
        outcomes: ended.iter().map(|(_, outcome)| outcome.attempt()).collect::<Vec<_>>(),
        statuses: ended.iter().map(|(_, outcome)| outcome.status()).collect::<Vec<_>>(),
        twilio_sids: ended.iter().map(|(_, outcome)| outcome.twilio_sid()).collect::<Vec<_>>(),
        error_codes: column(SendResult::error_code),
        details: column(SendResult::detail),
        next_attempts: ended.iter().map(|(_, outcome)| outcome.next_attempt_at()).collect::<Vec<_>>(),
        replaces: ended.iter().map(|(_, outcome)| replaced_by(outcome.status())).collect::<Vec<_>>(),
        parks: ended.iter().map(|(_, outcome)| matches!(outcome, SendResult::Parked { .. })).collect::<Vec<_>>(),
        recipient_effects: ended.iter().map(|(_, outcome)| outcome.recipient()).collect::<Vec<_>>(),
        now,
        status_event: EventType::MessageStatus,
        failed_event: EventType::MessageFailed,
        opted_out_event: EventType::OptedOut,
        opted_out_data: opted_out_by_error(),
    };
    let mut finished = Finished::default();
    for found in db.query_idempotent(&FINISH, &params).await? {
        match found.kind {
            Kind::Early => finished.early.extend(found.twilio_sid),
            Kind::Parked => finished.parked.extend(found.message_id),
        }
    }
    Ok(finished)
}

statements!(FINISH);
