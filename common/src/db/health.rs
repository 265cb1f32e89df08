//! The result of the deep health check, shared by all instances of the function.

use super::{Db, DbError, Statement, params, row, statements};
use jiff::Timestamp;
use serde_json::Value;

/// The next step of an instance that needs a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// Use a recent result.
    Recent {
        /// The time of the check.
        checked_at: Timestamp,
        /// The result.
        result: Value,
    },
    /// Check, and [`store`] the result.
    Check,
    /// Another instance is checking. Try again soon.
    Wait,
}

/// The times for [`turn`].
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Now.
    pub now: Timestamp,
    /// Older results are expired.
    pub fresh_from: Timestamp,
    /// Checks that started before this were abandoned.
    pub claimed_from: Timestamp,
}

row! {
    struct TurnRow {
        is_claimed: bool,
        checked_at: Option<Timestamp>,
        result: Option<Value>,
    }
}

/// A single statement, so that only one instance gets the claim: the others wait for the row lock and then see it.
const TURN: Statement<TurnRow> = Statement::new(
    "read the last health check",
    "
with claim as (
    update sms_health set claimed_at = $now
    where (checked_at is null or checked_at < $fresh_from) and (claimed_at is null or claimed_at < $claimed_from)
    returning true)
select exists (select from claim) as is_claimed, recent.checked_at, recent.result
from (select) one left join sms_health recent on recent.checked_at >= $fresh_from",
);

const STORE: Statement<()> = Statement::new(
    "store a health check",
    "update sms_health set checked_at = $now, claimed_at = null, result = $result",
);

/// Returns a recent result, or which instance must check.
///
/// # Errors
///
/// [`DbError`] when the query fails. The caller must check without sharing.
pub async fn turn(db: &Db, times: Times) -> Result<Turn, DbError> {
    let Times { now, fresh_from, claimed_from } = times;
    let rows = db.query_idempotent(&TURN, &params! { now, fresh_from, claimed_from }).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(Turn::Wait) };
    Ok(match (row.checked_at, row.result) {
        (Some(checked_at), Some(result)) => Turn::Recent { checked_at, result },
        _ if row.is_claimed => Turn::Check,
        _ => Turn::Wait,
    })
}

/// Stores a result for all instances.
///
/// # Errors
///
/// [`DbError`] when the statement fails. Other instances then check again.
pub async fn store(db: &Db, now: Timestamp, result: &Value) -> Result<(), DbError> {
    db.query_idempotent(&STORE, &params! { now, result }).await.map(drop)
}

statements!(TURN, STORE);
