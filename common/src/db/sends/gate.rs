//! The gate right before a call to Twilio: checks every condition for sending again, and delays STOPs.

use super::claim::Claimed;
use crate::db::types::text_enums;
use crate::db::{Db, DbError, Held, Statement, params, row, statements};
use crate::domain::ids::{AttemptId, MessageId};
use crate::domain::named::named_enum;
use jiff::Timestamp;
use std::collections::HashMap;

named_enum! {
    /// The verdict on a claimed message.
    pub enum Passage: "a verdict" {
        /// The message may be sent.
        Go = "go",
        /// The claim has ended, Twilio has the message already, or it must not be sent for another reason.
        Settled = "settled",
        /// The recipient has opted out.
        OptedOut = "opted_out",
        /// The carrier has deactivated the recipient's number.
        Deactivated = "deactivated",
        /// Its batch is paused or cancelled.
        Stopped = "stopped",
        /// Its `send_before` has passed.
        TooLate = "too_late",
    }
}

text_enums!(Passage);

row! {
    struct Verdict {
        attempt_id: AttemptId,
        verdict: Passage,
    }
}

/// The verdicts are described in `migrations/functions/sms_pass_send_gate.sql`.
const PASS: Statement<Verdict> = Statement::new(
    "pass the gate before a call",
    "select attempt_id, verdict from sms_pass_send_gate(attempt_ids => $attempt_ids, at => $now)",
);

/// Checks whether claimed messages may still be sent. Returns a verdict for each, and the transaction that delays
/// STOPs. Keep it open while the calls begin, but not while waiting for something that records a STOP.
///
/// # Errors
///
/// [`DbError`]: none of the messages must be sent.
pub async fn pass_gate(
    db: &Db,
    claims: &[&Claimed],
    now: Timestamp,
) -> Result<(HashMap<MessageId, Passage>, Held), DbError> {
    let attempt_ids: Vec<AttemptId> = claims.iter().map(|claim| claim.attempt_id).collect();
    let (rows, held) = db.query_held(&PASS, &params! { attempt_ids, now }).await?;
    let verdicts: HashMap<AttemptId, Passage> =
        rows.into_iter().map(|row| (row.attempt_id, row.verdict)).collect();
    let of = |claim: &&Claimed| {
        (claim.message_id, verdicts.get(&claim.attempt_id).copied().unwrap_or(Passage::Settled))
    };
    Ok((claims.iter().map(of).collect(), held))
}

statements!(PASS);
