//! The gate between a STOP and a call to Twilio: no call begins once a STOP is recorded.

use crate::db::{Db, DbError, Held, Type};
use std::collections::HashSet;
use uuid::Uuid;

const PASS: &str = "select message_id from sms_pass_stop_gate($1)";

/// Returns those of the messages whose recipients have not opted out, and what keeps them from it: a STOP that comes now
/// is recorded once that is released. To be held while the calls begin, and no longer than a STOP may wait; never while
/// anything is waited for that records a STOP itself.
///
/// # Errors
///
/// [`DbError`]: none of the messages must be sent.
pub async fn pass_stop_gate(db: &Db, ids: &[Uuid]) -> Result<(HashSet<Uuid>, Held), DbError> {
    let params = [(&ids as _, Type::UUID_ARRAY)];
    let (rows, held) = db.query_held("pass the gate of STOPs", PASS, &params).await?;
    Ok((rows.iter().map(|row| row.get(0)).collect(), held))
}
