//! The result of the deep health check, shared by all instances of the function that runs it.

use super::{Db, DbError, Json, Type};
use jiff::Timestamp;
use serde_json::Value;

/// What there is to do for a caller of the deep check.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// Use the result of an instance that checked recently.
    Recent {
        /// When that instance had checked.
        checked_at: Timestamp,
        /// What it found.
        result: Value,
    },
    /// Check, and [`store`] the result.
    Check,
    /// Another instance is checking; ask again in a moment.
    Wait,
}

/// The instants by which [`turn`] decides.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Now.
    pub now: Timestamp,
    /// A result of before this is too old.
    pub fresh_from: Timestamp,
    /// A check that was begun before this was abandoned.
    pub claimed_from: Timestamp,
}

/// One statement, so that of several instances one gets the claim: the others wait for its row lock and then see its claim.
pub(crate) const TURN: &str = "
with claim as (
    update sms_health set claimed_at = $1
    where (checked_at is null or checked_at < $2) and (claimed_at is null or claimed_at < $3)
    returning true)
select exists (select from claim), recent.checked_at, recent.result
from (select) one left join sms_health recent on recent.checked_at >= $2";

pub(crate) const STORE: &str = "update sms_health set checked_at = $1, claimed_at = null, result = $2";

/// Returns a recent result, or who is to make one.
///
/// # Errors
///
/// [`DbError`] when Postgres does not answer: the caller must check for itself.
pub async fn turn(db: &Db, times: Times) -> Result<Turn, DbError> {
    let params = [
        (&times.now as _, Type::TIMESTAMPTZ),
        (&times.fresh_from as _, Type::TIMESTAMPTZ),
        (&times.claimed_from as _, Type::TIMESTAMPTZ),
    ];
    let rows = db.query_idempotent("read the last health check", TURN, &params).await?;
    let Some(row) = rows.first() else { return Ok(Turn::Wait) };
    Ok(match row.get::<_, Option<Timestamp>>(1) {
        Some(checked_at) => Turn::Recent { checked_at, result: row.get(2) },
        None if row.get(0) => Turn::Check,
        None => Turn::Wait,
    })
}

/// Stores a result for the others.
///
/// # Errors
///
/// [`DbError`] when Postgres does not answer: the others check for themselves later.
pub async fn store(db: &Db, now: Timestamp, result: &Value) -> Result<(), DbError> {
    let params = [(&now as _, Type::TIMESTAMPTZ), (&Json(result) as _, Type::JSONB)];
    db.query_idempotent("store a health check", STORE, &params).await.map(drop)
}
