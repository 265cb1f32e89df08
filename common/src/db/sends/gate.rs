//! The gate right before a call to Twilio: checks every condition for sending again, and delays STOPs.

use super::claim::Claimed;
use crate::db::{Db, DbError, Held, Row, Type};
use jiff::Timestamp;
use std::collections::HashMap;
use uuid::Uuid;

/// The verdict on a claimed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// The message may be sent.
    Go,
    /// The claim has ended, Twilio has the message already, or it must not be sent for another reason.
    Settled,
    /// The recipient has opted out.
    OptedOut,
    /// Its `send_before` has passed.
    TooLate,
}

/// The verdicts are described in `migrations/functions/sms_pass_send_gate.sql`.
const PASS: &str = "select attempt_id, verdict from sms_pass_send_gate($1, $2)";

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
) -> Result<(HashMap<Uuid, Passage>, Held), DbError> {
    let attempts: Vec<Uuid> = claims.iter().map(|claim| claim.attempt_id).collect();
    let params = [(&attempts as _, Type::UUID_ARRAY), (&now as _, Type::TIMESTAMPTZ)];
    let (rows, held) = db.query_held("pass the gate before a call", PASS, &params).await?;
    let verdicts: HashMap<Uuid, Passage> = rows.iter().map(|row| (row.get(0), passage(row))).collect();
    let of = |claim: &&Claimed| {
        (claim.message_id, verdicts.get(&claim.attempt_id).copied().unwrap_or(Passage::Settled))
    };
    Ok((claims.iter().map(of).collect(), held))
}

fn passage(row: &Row) -> Passage {
    match row.get(1) {
        "go" => Passage::Go,
        "opted_out" => Passage::OptedOut,
        "too_late" => Passage::TooLate,
        _ => Passage::Settled,
    }
}
