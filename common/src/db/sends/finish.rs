//! Records the outcomes of calls to Twilio.

use super::claim::Claimed;
use crate::db::statuses::replaced_by;
use crate::db::{Db, DbError, Type};
use crate::domain::message::Status;
use jiff::Timestamp;
use uuid::Uuid;

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Twilio accepted the message.
    Accepted {
        /// The message SID.
        twilio_sid: String,
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
    pub early: Vec<String>,
    /// Parked messages, including those that Twilio accepted under the SID of another message.
    pub parked: Vec<Uuid>,
}

impl Outcome {
    fn attempt(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Deferred { .. } | Self::Failed { by_twilio: false, .. } => "not_processed",
            Self::Failed { by_twilio: true, .. } => "rejected",
            Self::Unknown { .. } | Self::Parked { .. } => "unknown",
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

    fn twilio_sid(&self) -> Option<&str> {
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

    fn next_attempt_at(&self) -> Option<Timestamp> {
        match self {
            Self::Deferred { next_attempt_at, .. } => Some(*next_attempt_at),
            Self::Accepted { .. } | Self::Failed { .. } | Self::Unknown { .. } | Self::Parked { .. } => None,
        }
    }
}

/// Its steps are described in `migrations/functions/sms_finish_sends.sql`.
pub(crate) const FINISH: &str = "
select kind, twilio_sid, message_id
from sms_finish_sends($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// Records outcomes. A message that Twilio accepted under the SID of another message is parked.
///
/// # Errors
///
/// [`DbError`]: none is recorded. Retry, because the claims are still valid; `retry-sends` marks what stays unrecorded
/// as unknown. If it [is about the data](DbError::is_about_the_data), record them one by one.
pub async fn finish(db: &Db, ended: &[(&Claimed, &Outcome)], now: Timestamp) -> Result<Finished, DbError> {
    let messages: Vec<Uuid> = ended.iter().map(|(claim, _)| claim.message_id).collect();
    let attempts: Vec<Uuid> = ended.iter().map(|(claim, _)| claim.attempt_id).collect();
    let outcomes: Vec<&str> = ended.iter().map(|(_, outcome)| outcome.attempt()).collect();
    let statuses: Vec<&str> = ended.iter().map(|(_, outcome)| outcome.status().as_str()).collect();
    let sids: Vec<Option<&str>> = ended.iter().map(|(_, outcome)| outcome.twilio_sid()).collect();
    let codes: Vec<Option<&str>> = ended.iter().map(|(_, outcome)| outcome.error_code()).collect();
    let details: Vec<Option<&str>> = ended.iter().map(|(_, outcome)| outcome.detail()).collect();
    let nexts: Vec<Option<Timestamp>> = ended.iter().map(|(_, outcome)| outcome.next_attempt_at()).collect();
    let replaces: Vec<String> = ended.iter().map(|(_, outcome)| replaced_by(outcome.status())).collect();
    let parks: Vec<bool> =
        ended.iter().map(|(_, outcome)| matches!(outcome, Outcome::Parked { .. })).collect();
    let params = [
        (&messages as _, Type::UUID_ARRAY),
        (&attempts as _, Type::UUID_ARRAY),
        (&outcomes as _, Type::TEXT_ARRAY),
        (&statuses as _, Type::TEXT_ARRAY),
        (&sids as _, Type::TEXT_ARRAY),
        (&codes as _, Type::TEXT_ARRAY),
        (&details as _, Type::TEXT_ARRAY),
        (&nexts as _, Type::TIMESTAMPTZ_ARRAY),
        (&replaces as _, Type::TEXT_ARRAY),
        (&parks as _, Type::BOOL_ARRAY),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    let mut finished = Finished::default();
    for row in &db.query_idempotent("record the outcomes of sends", FINISH, &params).await? {
        match row.get(0) {
            "parked" => finished.parked.push(row.get(2)),
            _ => finished.early.push(row.get(1)),
        }
    }
    Ok(finished)
}
