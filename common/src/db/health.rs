//! The result of the deep health check, shared by all instances of the function.

use super::{Db, DbError, Json, Type};
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

/// A single statement, so that only one instance gets the claim: the others wait for the row lock and then see it.
pub(crate) const TURN: &str = "
with claim as (
    update sms_health set claimed_at = $1
    where (checked_at is null or checked_at < $2) and (claimed_at is null or claimed_at < $3)
    returning true)
select exists (select from claim), recent.checked_at, recent.result
from (select) one left join sms_health recent on recent.checked_at >= $2";

pub(crate) const STORE: &str = "update sms_health set checked_at = $1, claimed_at = null, result = $2";

/// Returns a recent result, or which instance must check.
///
/// # Errors
///
/// [`DbError`] when the query fails. The caller must check without sharing.
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

/// Stores a result for all instances.
///
/// # Errors
///
/// [`DbError`] when the statement fails. Other instances then check again.
pub async fn store(db: &Db, now: Timestamp, result: &Value) -> Result<(), DbError> {
    let params = [(&now as _, Type::TIMESTAMPTZ), (&Json(result) as _, Type::JSONB)];
    db.query_idempotent("store a health check", STORE, &params).await.map(drop)
}
