//! Records lookup results on conversations.

use crate::db::{Db, DbError, Json, Type};
use crate::domain::language::Language;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// No tenant.
    Nobody,
    /// One tenant.
    Tenant {
        /// The tenant.
        tenant_id: String,
        /// The preferred language.
        preference: Option<Language>,
        /// The spelling that matched, if the later ones were not looked up yet.
        found_by: Option<String>,
    },
    /// Several tenants.
    Ambiguous(Vec<String>),
}

/// A conversation with its lookup result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedNumber {
    /// The conversation.
    pub conversation_id: Uuid,
    /// The lookup result.
    pub finding: Finding,
    /// The request that made us ask.
    pub request_id: String,
}

/// When the Monitor is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After it knew the number.
    pub refresh: Duration,
    /// After it knew the number by one of the spellings, about those after it; no later than `refresh`.
    pub confirm: Duration,
    /// After it did not, doubled with each such answer in a row.
    pub no_match: Duration,
    /// But no later than this.
    pub no_match_max: Duration,
}

/// What a conversation is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The conversation.
    pub conversation_id: Uuid,
    /// The tenant it was.
    pub previous_tenant_id: Option<String>,
    /// The tenant it is.
    pub tenant_id: Option<String>,
    /// Whether there are several candidates.
    pub is_ambiguous: bool,
    /// The language of an earlier tenant, if it was removed.
    pub forgotten_language: Option<String>,
}

/// The steps of the statement:
/// - `input`: one finding per conversation;
/// - `prior`: the current conversations, locked in the order of numbers to avoid deadlocks;
/// - `verdict`: their tenants from now on. With several candidates there is none. A tenant keeps a number that the
///   Monitor no longer knows until the second such response, because the first may be a mistake;
/// - `updated`: the conversations. Messages that another tenant wrote before the Monitor last confirmed them do not
///   count for the new tenant's language. The mark to settle the tenant's language is set;
/// - `identified`: an event for each conversation with a new tenant;
/// - `forgotten`: an event for each that loses the language of an earlier tenant;
/// - `given_up`, `used`: the tenants' numbers;
/// - `preferred`: the language in the profile; its time stays while the language is the same.
const RECORD: &str = "
with input as (
    select distinct on (conversation_id) *
    from unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::text[], $6::text[], $11::text[])
        as t (conversation_id, finding, tenant_id, candidates, preference, request_id, found_by)
    order by conversation_id
), prior as (
    select c.id, c.tenant_id, c.tenant_missing_since, c.tenant_vain_checks, c.tenant_identified_at,
        c.language_detected, c.language_own, c.language_at, coalesce(c.last_message_at, c.created_at) as used_at
    from sms_conversations c where c.id in (select conversation_id from input)
    order by c.account_sid, c.phone_number_canonical
    for no key update
), verdict as (
    select i.*, p.tenant_id as previous, p.tenant_vain_checks, p.tenant_identified_at as confirmed_at, p.used_at,
        p.language_detected as held,
        case when i.finding = 'tenant' then i.tenant_id
             when i.finding = 'nobody' and p.tenant_missing_since is null then p.tenant_id end as owner,
        coalesce(p.tenant_id <> i.tenant_id, false)
            and (not p.language_own or p.language_at <= p.tenant_identified_at) as outdated
    from input i join prior p on p.id = i.conversation_id
), updated as (
    update sms_conversations c
    set tenant_id = v.owner,
        tenant_identified_at = case when v.finding = 'tenant' then $7 when v.owner is not null then v.confirmed_at end,
        tenant_candidates = v.candidates,
        tenant_found_by = v.found_by,
        tenant_unsettled_at = case when v.finding = 'tenant' then clock_timestamp()
                                   when v.owner is not null then c.tenant_unsettled_at end,
        tenant_missing_since = case when v.finding = 'nobody' and v.owner is not null then $7 end,
        tenant_vain_checks = case when v.finding = 'nobody' then v.tenant_vain_checks + 1 else 0 end,
        tenant_failed_checks = 0,
        tenant_next_check_at = $7 + make_interval(secs => case when v.finding = 'nobody'
            then least($9 * 2.0 ^ least(v.tenant_vain_checks, 20), $10)
            when v.found_by is not null then least($12::float8, $8) else $8 end),
        language_detected = case when v.outdated then 'unknown' else c.language_detected end,
        language_confidence = case when v.outdated then 0 else c.language_confidence end,
        language_strength = case when v.outdated then 0 else c.language_strength end,
        language_own = c.language_own and not v.outdated,
        language_at = case when v.outdated then '-infinity' else c.language_at end,
        language_evidence = case when v.outdated then '' else c.language_evidence end
    from verdict v where c.id = v.conversation_id
), identified as (
    insert into sms_events (id, event_type, conversation_id, data, created_at)
    select gen_random_uuid(), 'conversation.tenant_identified', v.conversation_id,
        jsonb_build_object('tenant_id', v.owner, 'previous_tenant_id', v.previous, 'request_id', v.request_id), $7
    from verdict v where v.finding = 'tenant' and v.owner is distinct from v.previous
), forgotten as (
    insert into sms_events (id, event_type, conversation_id, data, created_at)
    select gen_random_uuid(), 'conversation.language_changed', v.conversation_id,
        jsonb_build_object('language', 'unknown', 'confidence', 0, 'previous', v.held, 'source', 'tenant',
                           'tenant_id', v.owner, 'request_id', v.request_id), $7
    from verdict v where v.outdated and v.held <> 'unknown'
), given_up as (
    delete from sms_tenant_numbers n using verdict v where n.conversation_id = v.conversation_id and v.owner is null
), used as (
    insert into sms_tenant_numbers (conversation_id, tenant_id, last_used_at)
    select v.conversation_id, v.owner, v.used_at from verdict v where v.finding = 'tenant'
    on conflict (conversation_id) do update
        set tenant_id = excluded.tenant_id, last_used_at = greatest(sms_tenant_numbers.last_used_at, excluded.last_used_at)
), preferred as (
    insert into sms_tenants (tenant_id, language_preference, preference_at)
    select distinct on (v.tenant_id) v.tenant_id, v.preference, $7
    from verdict v where v.finding = 'tenant' and v.preference is not null
    order by v.tenant_id
    on conflict (tenant_id) do update
        set language_preference = excluded.language_preference, preference_at = excluded.preference_at
        where sms_tenants.language_preference is distinct from excluded.language_preference
)
select v.conversation_id, v.previous, v.owner, v.candidates is not null,
    case when v.outdated and v.held <> 'unknown' then v.held end
from verdict v";

/// Stores lookup results with their events, and schedules the next lookups.
///
/// Free of effect but for times when it is repeated.
///
/// # Errors
///
/// [`DbError`]: nothing is kept, and the checks are due again after their lease.
pub async fn record(
    db: &Db,
    checked: &[CheckedNumber],
    now: Timestamp,
    pace: &Pace,
) -> Result<Vec<Recorded>, DbError> {
    let ids: Vec<Uuid> = checked.iter().map(|number| number.conversation_id).collect();
    let request_ids: Vec<&str> = checked.iter().map(|number| number.request_id.as_str()).collect();
    let (mut findings, mut tenants, mut preferences) = (Vec::new(), Vec::new(), Vec::new());
    let mut spellings: Vec<Option<&str>> = Vec::new();
    let mut candidates: Vec<Option<Json<Value>>> = Vec::new();
    for number in checked {
        let (mut tenant, mut preference, mut claimed_by, mut spelling) = (None, None, None, None);
        let finding = match &number.finding {
            Finding::Nobody => "nobody",
            Finding::Tenant { tenant_id, preference: preferred, found_by } => {
                tenant = Some(tenant_id.as_str());
                preference = preferred.map(|language| language.as_str());
                spelling = found_by.as_deref();
                "tenant"
            }
            Finding::Ambiguous(tenants) => {
                claimed_by = Some(Json(json!(tenants)));
                "ambiguous"
            }
        };
        findings.push(finding);
        tenants.push(tenant);
        preferences.push(preference);
        candidates.push(claimed_by);
        spellings.push(spelling);
    }
    let params = [
        (&ids as _, Type::UUID_ARRAY),
        (&findings as _, Type::TEXT_ARRAY),
        (&tenants as _, Type::TEXT_ARRAY),
        (&candidates as _, Type::JSONB_ARRAY),
        (&preferences as _, Type::TEXT_ARRAY),
        (&request_ids as _, Type::TEXT_ARRAY),
        (&now as _, Type::TIMESTAMPTZ),
        (&pace.refresh.as_secs_f64() as _, Type::FLOAT8),
        (&pace.no_match.as_secs_f64() as _, Type::FLOAT8),
        (&pace.no_match_max.as_secs_f64() as _, Type::FLOAT8),
        (&spellings as _, Type::TEXT_ARRAY),
        (&pace.confirm.as_secs_f64() as _, Type::FLOAT8),
    ];
    let rows = db.query_idempotent("record tenants", RECORD, &params).await?;
    Ok(rows
        .iter()
        .map(|row| Recorded {
            conversation_id: row.get(0),
            previous_tenant_id: row.get(1),
            tenant_id: row.get(2),
            is_ambiguous: row.get(3),
            forgotten_language: row.get(4),
        })
        .collect())
}
