//! Pending updates of tenant profiles.

use super::MAX_BACKOFF;
use crate::db::{Db, DbError, Type};
use jiff::Timestamp;
use std::time::Duration;

/// A language to push to a tenant's profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The tenant.
    pub tenant_id: String,
    /// `en`, `es` or `pt`.
    pub language: String,
}

/// A claim sets the time of the next attempt with a doubling delay, so that a failure needs no further write.
const CLAIM_PUSHES: &str = "
update sms_tenants t
set push_tries = t.push_tries + 1,
    push_due_at = $1::timestamptz + make_interval(secs => least($3 * 2.0 ^ least(t.push_tries, 20), $4))
where t.tenant_id in (
    select d.tenant_id from sms_tenants d
    where d.push_language is not null and d.push_due_at <= $1 and ($2::text[] is null or d.tenant_id = any($2))
    order by d.push_due_at limit $5 for no key update skip locked)
returning t.tenant_id, t.push_language";

/// Claims at most `limit` due pushes, of the given tenants or of all. No other function pushes for the same tenant
/// within `retry`.
///
/// # Errors
///
/// [`DbError`]: nothing is claimed, or it is due again later.
pub async fn claim_pushes(
    db: &Db,
    tenant_ids: Option<&[String]>,
    now: Timestamp,
    retry: Duration,
    limit: i64,
) -> Result<Vec<Push>, DbError> {
    let params = [
        (&now as _, Type::TIMESTAMPTZ),
        (&tenant_ids as _, Type::TEXT_ARRAY),
        (&retry.as_secs_f64() as _, Type::FLOAT8),
        (&MAX_BACKOFF.as_secs_f64() as _, Type::FLOAT8),
        (&limit as _, Type::INT8),
    ];
    let rows = db.query_idempotent("claim pushes to profiles", CLAIM_PUSHES, &params).await?;
    Ok(rows.iter().map(|row| Push { tenant_id: row.get(0), language: row.get(1) }).collect())
}

/// A language decided meanwhile is due at once. A preference that we pushed is not evidence.
const TOLD: &str = "
update sms_tenants
set push_language = nullif(push_language, $2), push_tries = 0,
    push_due_at = case when push_language <> $2 then $3::timestamptz end,
    language_preference = case when $4 then $2 else language_preference end,
    preference_at = case when $4 and language_preference is distinct from $2 then null else preference_at end
where tenant_id = $1";

/// Records that a profile was updated, and whether it exists.
///
/// # Errors
///
/// [`DbError`]: the profile is updated again, which is harmless.
pub async fn told(db: &Db, push: &Push, now: Timestamp, is_stored: bool) -> Result<(), DbError> {
    let params = [
        (&push.tenant_id as _, Type::TEXT),
        (&push.language as _, Type::TEXT),
        (&now as _, Type::TIMESTAMPTZ),
        (&is_stored as _, Type::BOOL),
    ];
    db.query_idempotent("note a push", TOLD, &params).await.map(drop)
}
