//! Claims tenant lookups.

use super::MAX_BACKOFF;
use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::ConversationId;
use crate::domain::phone::InboundSender;
use jiff::Timestamp;
use std::time::Duration;

row! {
    /// A conversation to look up.
    #[derive(Clone, PartialEq, Eq)]
    pub struct Checked {
        /// The conversation.
        pub conversation_id: ConversationId = "id",
        /// Its number.
        pub phone_number_canonical: InboundSender,
        /// The first received spelling of the number.
        pub phone_number_original: String,
        /// The known tenant.
        pub tenant_id: Option<String>,
        /// Whether the Monitor must confirm a known tenant or candidates.
        pub is_known: bool,
        /// The spelling that matched, if the later ones were not looked up yet.
        pub found_by: Option<String> = "tenant_found_by",
        /// Whether the caller must look it up. No other function does.
        pub is_due: bool,
    }
}

/// The steps of the statement:
/// - `wanted`: the conversations, locked in the order of numbers to avoid deadlocks; a lookup is due at its time, or if
///   there was none;
/// - `claimed`: claims due lookups, so that two functions do not look up one number at once;
/// - `used`: records that a tenant's number was used, with or without a lookup.
const CLAIM: Statement<Checked> = Statement::new(
    "claim tenant lookups",
    "
with wanted as (
    select c.id, c.phone_number_canonical, c.phone_number_original, c.tenant_id, c.tenant_candidates,
        c.tenant_found_by, c.last_message_at,
        c.phone_number_canonical like '+%' and coalesce(c.tenant_next_check_at <= $now, true) as due
    from sms_conversations c where c.id = any($conversation_ids)
    order by c.account_sid, c.phone_number_canonical
    for no key update
), claimed as (
    update sms_conversations c set tenant_next_check_at = $until from wanted w where c.id = w.id and w.due
), used as (
    update sms_tenant_numbers n set last_used_at = w.last_message_at
    from wanted w where n.conversation_id = w.id and w.last_message_at > n.last_used_at
)
select id, phone_number_canonical, phone_number_original, tenant_id,
    tenant_id is not null or tenant_candidates is not null as is_known, due as is_due, tenant_found_by
from wanted",
);

/// Reads conversations with new messages, and claims due lookups until `now` plus `lease`.
///
/// After a crash, the schedule finds them due after the lease.
///
/// # Errors
///
/// [`DbError`]: nothing is claimed, or it is due again after the lease.
pub async fn claim(
    db: &Db,
    conversation_ids: &[ConversationId],
    now: Timestamp,
    lease: Duration,
) -> Result<Vec<Checked>, DbError> {
    let until = now + lease;
    db.query_idempotent(&CLAIM, &params! { conversation_ids, now, until }).await
}

row! {
    struct Due {
        due_at: Option<Timestamp>,
    }
}

/// Two short index scans: numbers that were never looked up, after the normal lookup had time to run, and due numbers.
/// Locked rows are skipped.
const TAKE_DUE: Statement<(Checked, Due)> = Statement::new(
    "claim due tenant lookups",
    "
with never_checked as (
    select id, null::timestamptz as due_at from sms_conversations
    where phone_number_canonical like '+%' and tenant_next_check_at is null and created_at <= $created_before
    limit $limit for no key update skip locked
), due as (
    select id, tenant_next_check_at as due_at from sms_conversations
    where phone_number_canonical like '+%' and tenant_next_check_at <= $due_at
    order by tenant_next_check_at limit $limit for no key update skip locked
), taken as (
    select id, due_at from never_checked union all select id, due_at from due limit $limit
), claimed as (
    update sms_conversations c set tenant_next_check_at = $until
    from taken where c.id = taken.id
    returning c.id, c.phone_number_canonical, c.phone_number_original, c.tenant_id,
        c.tenant_id is not null or c.tenant_candidates is not null as is_known, c.tenant_found_by
)
select c.id, c.phone_number_canonical, c.phone_number_original, c.tenant_id, c.is_known, true as is_due,
    c.tenant_found_by, taken.due_at
from claimed c join taken on taken.id = c.id
order by taken.due_at nulls first",
);

/// Claims at most `limit` lookups due at `due_at` until `until`. Numbers that were never looked up are included if
/// their conversation existed at `created_before`; they come first, then the longest due ones. Returns each with its
/// due time.
///
/// # Errors
///
/// [`DbError`]: nothing is claimed, or it is due again after the lease.
pub async fn take_due(
    db: &Db,
    due_at: Timestamp,
    created_before: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<(Checked, Option<Timestamp>)>, DbError> {
    let rows = db.query_idempotent(&TAKE_DUE, &params! { due_at, created_before, until, limit }).await?;
    Ok(rows.into_iter().map(|(checked, due)| (checked, due.due_at)).collect())
}

const GIVE_BACK: Statement<()> = Statement::new(
    "reschedule failed tenant lookups",
    "
update sms_conversations
set tenant_failed_checks = tenant_failed_checks + $failures,
    tenant_next_check_at = $now::timestamptz
        + make_interval(secs => least(
            $retry_seconds * case when $failures = 0 then 1 else 2.0 ^ least(tenant_failed_checks, 20) end,
            $max_backoff_seconds))
where id in (select c.id from sms_conversations c where c.id = any($conversation_ids)
             order by c.account_sid, c.phone_number_canonical for no key update)",
);

/// Reschedules failed lookups after `retry`, which doubles up to an hour each time the Monitor `answers_others` but not
/// these.
///
/// # Errors
///
/// [`DbError`]: they are due again after their lease.
pub async fn give_back(
    db: &Db,
    conversation_ids: &[ConversationId],
    now: Timestamp,
    retry: Duration,
    answers_others: bool,
) -> Result<(), DbError> {
    if conversation_ids.is_empty() {
        return Ok(());
    }
    let params = params! {
        conversation_ids,
        now,
        retry_seconds: retry.as_secs_f64(),
        max_backoff_seconds: MAX_BACKOFF.as_secs_f64(),
        failures: i32::from(answers_others),
    };
    db.query_idempotent(&GIVE_BACK, &params).await.map(drop)
}

const RELEASE: Statement<()> = Statement::new(
    "release tenant lookups",
    "
update sms_conversations c set tenant_next_check_at = released.due_at
from (select c.id, r.due_at
      from unnest($conversation_ids::uuid[], $due_at::timestamptz[]) as r (id, due_at)
      join sms_conversations c on c.id = r.id
      order by c.account_sid, c.phone_number_canonical for no key update of c) released
where c.id = released.id",
);

/// Releases claimed lookups that were not started. Each keeps its due time.
///
/// # Errors
///
/// [`DbError`]: they are due again after their lease.
pub async fn release(db: &Db, checks: &[(ConversationId, Option<Timestamp>)]) -> Result<(), DbError> {
    if checks.is_empty() {
        return Ok(());
    }
    let (conversation_ids, due_at): (Vec<ConversationId>, Vec<Option<Timestamp>>) =
        checks.iter().copied().unzip();
    db.query_idempotent(&RELEASE, &params! { conversation_ids, due_at }).await.map(drop)
}

statements!(CLAIM, TAKE_DUE, GIVE_BACK, RELEASE);
