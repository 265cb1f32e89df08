//! Pending updates of tenant profiles.

use super::MAX_BACKOFF;
use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::language::Language;
use jiff::Timestamp;
use std::time::Duration;

row! {
    /// A language to push to a tenant's profile.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Push {
        /// The tenant.
        pub tenant_id: String,
        /// The language, never unknown.
        pub language: Language = "push_language",
    }
}

/// A claim sets the time of the next attempt with a doubling delay, so that a failure needs no further write.
const CLAIM_PUSHES: Statement<Push> = Statement::new(
    "claim pushes to profiles",
    "
update sms_tenants t
set push_tries = t.push_tries + 1,
    push_due_at = $now::timestamptz
        + make_interval(secs => least($retry_seconds * 2.0 ^ least(t.push_tries, 20), $max_backoff_seconds))
where t.tenant_id in (
    select d.tenant_id from sms_tenants d
    where d.push_language is not null and d.push_due_at <= $now
      and ($tenant_ids::text[] is null or d.tenant_id = any($tenant_ids))
    order by d.push_due_at limit $limit for no key update skip locked)
returning t.tenant_id, t.push_language",
);

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
    let params = params! {
        now,
        tenant_ids,
        retry_seconds: retry.as_secs_f64(),
        max_backoff_seconds: MAX_BACKOFF.as_secs_f64(),
        limit,
    };
    db.query_idempotent(&CLAIM_PUSHES, &params).await
}

/// A language decided meanwhile is due at once. A preference that we pushed is not evidence.
const TOLD: Statement<()> = Statement::new(
    "record a profile push",
    "
update sms_tenants
set push_language = nullif(push_language, $language), push_tries = 0,
    push_due_at = case when push_language <> $language then $now::timestamptz end,
    language_preference = case when $is_stored then $language else language_preference end,
    preference_at =
        case when $is_stored and language_preference is distinct from $language then null else preference_at end
where tenant_id = $tenant_id",
);

/// Records that a profile was updated, and whether it exists.
///
/// # Errors
///
/// [`DbError`]: the profile is updated again, which is harmless.
pub async fn told(db: &Db, push: &Push, now: Timestamp, is_stored: bool) -> Result<(), DbError> {
    let Push { tenant_id, language } = push;
    db.query_idempotent(&TOLD, &params! { tenant_id, language, now, is_stored }).await.map(drop)
}

statements!(CLAIM_PUSHES, TOLD);
