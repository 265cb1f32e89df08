//! Claims tenant lookups.

use super::MAX_BACKOFF;
use crate::db::{Db, DbError, Row, Type};
use jiff::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// A conversation to look up.
#[derive(Clone, PartialEq, Eq)]
pub struct Checked {
    /// The conversation.
    pub conversation_id: Uuid,
    /// Its number.
    pub phone_number_canonical: String,
    /// The first received spelling of the number.
    pub phone_number_original: String,
    /// The known tenant.
    pub tenant_id: Option<String>,
    /// Whether the Monitor must confirm a known tenant or candidates.
    pub is_known: bool,
    /// The spelling that matched, if the later ones were not looked up yet.
    pub found_by: Option<String>,
    /// Whether the caller must look it up. No other function does.
    pub is_due: bool,
}

/// The steps of the statement:
/// - `wanted`: the conversations, locked in the order of numbers to avoid deadlocks; a lookup is due at its time, or if
///   there was none;
/// - `claimed`: claims due lookups, so that two functions do not look up one number at once;
/// - `used`: records that a tenant's number was used, with or without a lookup.
const CLAIM: &str = "
with wanted as (
    select c.id, c.phone_number_canonical, c.phone_number_original, c.tenant_id, c.tenant_candidates,
        c.tenant_found_by, c.last_message_at,
        c.phone_number_canonical like '+%' and coalesce(c.tenant_next_check_at <= $2, true) as due
    from sms_conversations c where c.id = any($1)
    order by c.account_sid, c.phone_number_canonical
    for no key update
), claimed as (
    update sms_conversations c set tenant_next_check_at = $3 from wanted w where c.id = w.id and w.due
), used as (
    update sms_tenant_numbers n set last_used_at = w.last_message_at
    from wanted w where n.conversation_id = w.id and w.last_message_at > n.last_used_at
)
select id, phone_number_canonical, phone_number_original, tenant_id,
    tenant_id is not null or tenant_candidates is not null, due, tenant_found_by
from wanted";

/// Reads conversations with new messages, and claims due lookups until `now` plus `lease`.
///
/// After a crash, the schedule finds them due after the lease.
///
/// # Errors
///
/// [`DbError`]: nothing is claimed, or it is due again after the lease.
pub async fn claim(
    db: &Db,
    conversation_ids: &[Uuid],
    now: Timestamp,
    lease: Duration,
) -> Result<Vec<Checked>, DbError> {
    let until = now + lease;
    let params = [
        (&conversation_ids as _, Type::UUID_ARRAY),
        (&now as _, Type::TIMESTAMPTZ),
        (&until as _, Type::TIMESTAMPTZ),
    ];
    let rows = db.query_idempotent("look tenants up", CLAIM, &params).await?;
    Ok(rows.iter().map(checked).collect())
}

/// Two short index scans: numbers that were never looked up, after the normal lookup had time to run, and due numbers.
/// Locked rows are skipped.
const TAKE_DUE: &str = "
with unasked as (
    select id, null::timestamptz as due_at from sms_conversations
    where phone_number_canonical like '+%' and tenant_next_check_at is null and created_at <= $2
    limit $4 for no key update skip locked
), due as (
    select id, tenant_next_check_at as due_at from sms_conversations
    where phone_number_canonical like '+%' and tenant_next_check_at <= $1
    order by tenant_next_check_at limit $4 for no key update skip locked
), taken as (
    select id, due_at from unasked union all select id, due_at from due limit $4
), claimed as (
    update sms_conversations c set tenant_next_check_at = $3
    from taken where c.id = taken.id
    returning c.id, c.phone_number_canonical, c.phone_number_original, c.tenant_id,
        c.tenant_id is not null or c.tenant_candidates is not null as is_known, c.tenant_found_by
)
select c.id, c.phone_number_canonical, c.phone_number_original, c.tenant_id, c.is_known, true, c.tenant_found_by, taken.due_at
from claimed c join taken on taken.id = c.id
order by taken.due_at nulls first";

/// Claims at most `limit` lookups due at `due_at` until `until`. Numbers that were never looked up are included if
/// their conversation existed at `unasked_since`; they come first, then the longest due ones. Returns each with its due
/// time.
///
/// # Errors
///
/// [`DbError`]: nothing is claimed, or it is due again after the lease.
pub async fn take_due(
    db: &Db,
    due_at: Timestamp,
    unasked_since: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<(Checked, Option<Timestamp>)>, DbError> {
    let params = [
        (&due_at as _, Type::TIMESTAMPTZ),
        (&unasked_since as _, Type::TIMESTAMPTZ),
        (&until as _, Type::TIMESTAMPTZ),
        (&limit as _, Type::INT8),
    ];
    let rows = db.query_idempotent("take due tenant checks", TAKE_DUE, &params).await?;
    Ok(rows.iter().map(|row| (checked(row), row.get(7))).collect())
}

const GIVE_BACK: &str = "
update sms_conversations
set tenant_failed_checks = tenant_failed_checks + $5,
    tenant_next_check_at = $2::timestamptz
        + make_interval(secs => least($3 * case when $5 = 0 then 1 else 2.0 ^ least(tenant_failed_checks, 20) end, $4))
where id in (select c.id from sms_conversations c where c.id = any($1)
             order by c.account_sid, c.phone_number_canonical for no key update)";

/// Reschedules failed lookups after `retry`, which doubles up to an hour each time the Monitor `answers_others` but not
/// these.
///
/// # Errors
///
/// [`DbError`]: they are due again after their lease.
pub async fn give_back(
    db: &Db,
    conversation_ids: &[Uuid],
    now: Timestamp,
    retry: Duration,
    answers_others: bool,
) -> Result<(), DbError> {
    if conversation_ids.is_empty() {
        return Ok(());
    }
    let params = [
        (&conversation_ids as _, Type::UUID_ARRAY),
        (&now as _, Type::TIMESTAMPTZ),
        (&retry.as_secs_f64() as _, Type::FLOAT8),
        (&MAX_BACKOFF.as_secs_f64() as _, Type::FLOAT8),
        (&i32::from(answers_others) as _, Type::INT4),
    ];
    db.query_idempotent("give tenant checks back", GIVE_BACK, &params).await.map(drop)
}

const RELEASE: &str = "
update sms_conversations c set tenant_next_check_at = released.due_at
from (select c.id, r.due_at
      from unnest($1::uuid[], $2::timestamptz[]) as r (id, due_at) join sms_conversations c on c.id = r.id
      order by c.account_sid, c.phone_number_canonical for no key update of c) released
where c.id = released.id";

/// Releases claimed lookups that were not started. Each keeps its due time.
///
/// # Errors
///
/// [`DbError`]: they are due again after their lease.
pub async fn release(db: &Db, checks: &[(Uuid, Option<Timestamp>)]) -> Result<(), DbError> {
    if checks.is_empty() {
        return Ok(());
    }
    let (ids, due_at): (Vec<Uuid>, Vec<Option<Timestamp>>) = checks.iter().copied().unzip();
    let params = [(&ids as _, Type::UUID_ARRAY), (&due_at as _, Type::TIMESTAMPTZ_ARRAY)];
    db.query_idempotent("release tenant checks", RELEASE, &params).await.map(drop)
}

fn checked(row: &Row) -> Checked {
    Checked {
        conversation_id: row.get(0),
        phone_number_canonical: row.get(1),
        phone_number_original: row.get(2),
        tenant_id: row.get(3),
        is_known: row.get(4),
        is_due: row.get(5),
        found_by: row.get(6),
    }
}
