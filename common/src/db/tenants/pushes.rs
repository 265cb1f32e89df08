//! What the tenants' profiles are still to be told.

use super::MAX_BACKOFF;
use crate::db::{Db, DbError, Type};
use jiff::Timestamp;
use std::time::Duration;

/// A language to be pushed to a tenant's profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Whose.
    pub tenant_id: String,
    /// `en`, `es` or `pt`.
    pub language: String,
}

/// Claiming sets when the next try is due, doubled with each: whoever fails, or dies, has nothing more to write.
const CLAIM_PUSHES: &str = "
update sms_tenants t
set push_tries = t.push_tries + 1,
    push_due_at = $1::timestamptz + make_interval(secs => least($3 * 2.0 ^ least(t.push_tries, 20), $4))
where t.tenant_id in (
    select d.tenant_id from sms_tenants d
    where d.push_language is not null and d.push_due_at <= $1 and ($2::text[] is null or d.tenant_id = any($2))
    order by d.push_due_at limit $5 for no key update skip locked)
returning t.tenant_id, t.push_language";

/// Claims pushes that are due, those of the given tenants or of all, `limit` of them at most. Nobody else pushes for the
/// same tenant before `retry` has passed.
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

/// What was decided meanwhile is still to be told, at once. A preference that came from us is no evidence of its own.
const TOLD: &str = "
update sms_tenants
set push_language = nullif(push_language, $2), push_tries = 0,
    push_due_at = case when push_language <> $2 then $3::timestamptz end,
    language_preference = case when $4 then $2 else language_preference end,
    preference_at = case when $4 and language_preference is distinct from $2 then null else preference_at end
where tenant_id = $1";

/// Notes that a profile was told, and whether there is one that holds it now.
///
/// # Errors
///
/// [`DbError`]: the profile is told once more, which does no harm.
pub async fn told(db: &Db, push: &Push, now: Timestamp, is_stored: bool) -> Result<(), DbError> {
    let params = [
        (&push.tenant_id as _, Type::TEXT),
        (&push.language as _, Type::TEXT),
        (&now as _, Type::TIMESTAMPTZ),
        (&is_stored as _, Type::BOOL),
    ];
    db.query_idempotent("note a push", TOLD, &params).await.map(drop)
}
