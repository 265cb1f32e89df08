//! Records lookup results on conversations.

use crate::db::types::text_enums;
use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::ConversationId;
use crate::domain::language::Language;
use crate::domain::named::named_enum;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identification {
    /// No tenant.
    NotFound,
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
    pub conversation_id: ConversationId,
    /// The lookup result.
    pub result: Identification,
    /// The id of the request that caused the lookup.
    pub request_id: String,
}

/// The intervals of the lookups of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupIntervals {
    /// After the Monitor knew the number.
    pub refresh: Duration,
    /// After the Monitor knew one spelling of the number, to look up the later spellings; at most `refresh`.
    pub confirm: Duration,
    /// After the Monitor did not know the number. Doubles with each such response in a row.
    pub no_match: Duration,
    /// The maximum of the doubled interval.
    pub no_match_max: Duration,
}

row! {
    /// A conversation after its lookup result was stored.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Recorded {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// The tenant before.
        pub previous_tenant_id: Option<String>,
        /// The tenant now.
        pub tenant_id: Option<String>,
        /// Whether there are several candidates.
        pub is_ambiguous: bool,
        /// The language of an earlier tenant, if it was removed.
        pub forgotten_language: Option<Language>,
    }
}

named_enum! {
    /// The kind of a lookup result.
    enum ResultKind: "a kind of lookup result" {
        /// No tenant.
        NotFound = "not_found",
        /// One tenant.
        Tenant = "tenant",
        /// Several tenants.
        Ambiguous = "ambiguous",
    }
}

text_enums!(ResultKind);

/// The steps of the statement:
/// - `input`: one result per conversation;
/// - `prior`: the current conversations, locked in the order of numbers to avoid deadlocks;
/// - `verdict`: their tenants from now on. With several candidates there is none. A tenant keeps a number that the
///   Monitor no longer knows until the second such response, because the first may be a mistake;
/// - `updated`: the conversations. Messages that another tenant wrote before the Monitor last confirmed them do not
///   count for the new tenant's language. The mark to settle the tenant's language is set;
/// - `given_up`, `used`: the tenants' numbers;
/// - `preferred`: the language in the profile; its time stays while the language is the same;
/// - `event`: for each conversation with a new tenant, and for each that loses the language of an earlier tenant;
/// - `announced`: writes the events, after the conversations.
const RECORD: Statement<Recorded> = Statement::new(
    "record tenants",
    "
with input as (
    select distinct on (conversation_id) *
    from unnest($conversation_ids::uuid[], $results::text[], $tenant_ids::text[], $candidates::jsonb[],
                $preferences::text[], $request_ids::text[], $found_by::text[])
        as t (conversation_id, result, tenant_id, candidates, preference, request_id, found_by)
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
        case when i.result = 'tenant' then i.tenant_id
             when i.result = 'not_found' and p.tenant_missing_since is null then p.tenant_id end as owner,
        coalesce(p.tenant_id <> i.tenant_id, false)
            and (not p.language_own or p.language_at <= p.tenant_identified_at) as outdated
    from input i join prior p on p.id = i.conversation_id
), updated as (
    update sms_conversations c
    set tenant_id = v.owner,
        tenant_identified_at = case when v.result = 'tenant' then $now when v.owner is not null then v.confirmed_at end,
        tenant_candidates = v.candidates,
        tenant_found_by = v.found_by,
        tenant_unsettled_at = case when v.result = 'tenant' then clock_timestamp()
                                   when v.owner is not null then c.tenant_unsettled_at end,
        tenant_missing_since = case when v.result = 'not_found' and v.owner is not null then $now end,
        tenant_vain_checks = case when v.result = 'not_found' then v.tenant_vain_checks + 1 else 0 end,
        tenant_failed_checks = 0,
        tenant_next_check_at = $now + make_interval(secs => case when v.result = 'not_found'
            then least($no_match_seconds * 2.0 ^ least(v.tenant_vain_checks, 20), $no_match_max_seconds)
            when v.found_by is not null then least($confirm_seconds::float8, $refresh_seconds)
            else $refresh_seconds end),
        language_detected = case when v.outdated then 'unknown' else c.language_detected end,
        language_confidence = case when v.outdated then 0 else c.language_confidence end,
        language_strength = case when v.outdated then 0 else c.language_strength end,
        language_own = c.language_own and not v.outdated,
        language_at = case when v.outdated then '-infinity' else c.language_at end,
        language_evidence = case when v.outdated then '' else c.language_evidence end
    from verdict v where c.id = v.conversation_id
    returning c.id
), given_up as (
    delete from sms_tenant_numbers n using verdict v where n.conversation_id = v.conversation_id and v.owner is null
), used as (
    insert into sms_tenant_numbers (conversation_id, tenant_id, last_used_at)
    select v.conversation_id, v.owner, v.used_at from verdict v where v.result = 'tenant'
    on conflict (conversation_id) do update
        set tenant_id = excluded.tenant_id,
            last_used_at = greatest(sms_tenant_numbers.last_used_at, excluded.last_used_at)
), preferred as (
    insert into sms_tenants (tenant_id, language_preference, preference_at)
    select distinct on (v.tenant_id) v.tenant_id, v.preference, $now
    from verdict v where v.result = 'tenant' and v.preference is not null
    order by v.tenant_id
    on conflict (tenant_id) do update
        set language_preference = excluded.language_preference, preference_at = excluded.preference_at
        where sms_tenants.language_preference is distinct from excluded.language_preference
), event as (
    select 1 as kind, $identified_event::text as type, v.conversation_id, row_to_json(d)::text as data
    from verdict v, lateral (
        select v.owner as tenant_id, v.previous as previous_tenant_id, v.request_id) d
    where v.result = 'tenant' and v.owner is distinct from v.previous
    union all
    select 2, $language_event, v.conversation_id, sms_language_data('unknown', v.held, 0, 'tenant', v.request_id)
    from verdict v where v.outdated and v.held <> 'unknown'
), announced as (
    select sms_emit_events(
        array_agg(e.type order by e.conversation_id, e.kind),
        array_agg(e.conversation_id order by e.conversation_id, e.kind),
        array_agg(null::uuid), array_agg(e.data order by e.conversation_id, e.kind), $now) as events
    from event e join updated u on u.id = e.conversation_id
)
select v.conversation_id, v.previous as previous_tenant_id, v.owner as tenant_id,
    v.candidates is not null as is_ambiguous,
    case when v.outdated and v.held <> 'unknown' then v.held end as forgotten_language
from verdict v cross join announced",
);

/// Stores lookup results with their events, and schedules the next lookups.
///
/// A repetition changes only times.
///
/// # Errors
///
/// [`DbError`]: nothing is stored, and the lookups are due again after their lease.
pub async fn record(
    db: &Db,
    checked: &[CheckedNumber],
    now: Timestamp,
    intervals: &LookupIntervals,
) -> Result<Vec<Recorded>, DbError> {
    let results = || checked.iter().map(|number| &number.result);
    let params = params! {
        conversation_ids: checked.iter().map(|number| number.conversation_id).collect::<Vec<_>>(),
        results: results().map(Identification::kind).collect::<Vec<_>>(),
        tenant_ids: results().map(Identification::tenant_id).collect::<Vec<_>>(),
        candidates: results().map(Identification::candidates).collect::<Vec<_>>(),
        preferences: results().map(Identification::preference).collect::<Vec<_>>(),
        request_ids: checked.iter().map(|number| number.request_id.as_str()).collect::<Vec<_>>(),
        now,
        refresh_seconds: intervals.refresh.as_secs_f64(),
        no_match_seconds: intervals.no_match.as_secs_f64(),
        no_match_max_seconds: intervals.no_match_max.as_secs_f64(),
        found_by: results().map(Identification::found_by).collect::<Vec<_>>(),
        confirm_seconds: intervals.confirm.as_secs_f64(),
        identified_event: EventType::TenantIdentified,
        language_event: EventType::LanguageChanged,
    };
    db.query_idempotent(&RECORD, &params).await
}

impl Identification {
    fn kind(&self) -> ResultKind {
        match self {
            Self::NotFound => ResultKind::NotFound,
            Self::Tenant { .. } => ResultKind::Tenant,
            Self::Ambiguous(_) => ResultKind::Ambiguous,
        }
    }

    fn tenant_id(&self) -> Option<&str> {
        match self {
            Self::Tenant { tenant_id, .. } => Some(tenant_id),
            Self::NotFound | Self::Ambiguous(_) => None,
        }
    }

    fn preference(&self) -> Option<Language> {
        match self {
            Self::Tenant { preference, .. } => *preference,
            Self::NotFound | Self::Ambiguous(_) => None,
        }
    }

    fn found_by(&self) -> Option<&str> {
        match self {
            Self::Tenant { found_by, .. } => found_by.as_deref(),
            Self::NotFound | Self::Ambiguous(_) => None,
        }
    }

    fn candidates(&self) -> Option<Value> {
        match self {
            Self::Ambiguous(tenants) => Some(json!(tenants)),
            Self::NotFound | Self::Tenant { .. } => None,
        }
    }
}

statements!(RECORD);
