//! Shares the language between the numbers of a tenant.

use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::ConversationId;
use crate::domain::language::{Language, Strength};
use jiff::Timestamp;

row! {
    /// A conversation that got the language of its tenant.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Carried {
        /// The conversation.
        pub conversation_id: ConversationId = "id",
        /// The language before.
        pub previous: Language,
        /// The language now.
        pub chosen: Language = "language",
    }
}

/// The steps of the statement:
/// - `tenant`: the distinct tenants;
/// - `mark`: the marked conversations in this snapshot;
/// - `own`: the greatest own evidence of each tenant's numbers;
/// - `known`: the greater of `own` and the preference in the profile;
/// - `touched`: the conversations that are marked or have weaker evidence, locked in the order of numbers to avoid
///   deadlocks. Copied evidence ranks below a number's own evidence of the same strength;
/// - `updated`: copies the stronger evidence, and clears the mark unless a newer one was set;
/// - `decided`: schedules a push to the profile if the evidence is strong enough and the language differs from the last
///   decision and from the profile. A push in progress keeps its time, because two pushes could arrive out of order;
/// - `announced`: an event for each conversation with a new language, written after the conversations.
const SETTLE: Statement<Carried> = Statement::new(
    "settle the tenants' languages",
    "
with tenant as (
    select distinct tenant_id from unnest($tenant_ids::text[]) as t (tenant_id)
), mark as materialized (
    select c.id, c.tenant_unsettled_at as since from sms_conversations c join tenant t on t.tenant_id = c.tenant_id
    where c.tenant_unsettled_at is not null
), own as (
    select distinct on (c.tenant_id) c.tenant_id, c.language_detected as language, c.language_confidence as confidence,
        c.language_strength as strength, c.language_at as at, c.language_evidence as evidence
    from sms_conversations c join tenant t on t.tenant_id = c.tenant_id
    where c.language_own
    order by c.tenant_id, c.language_strength desc, c.language_at desc, c.language_evidence desc
), known as (
    select distinct on (tenant_id) * from (
        select * from own
        union all
        select s.tenant_id, s.language_preference, $confidence::float8, $strength::int2, s.preference_at, ''
        from sms_tenants s join tenant t on t.tenant_id = s.tenant_id where s.preference_at is not null
    ) evidence
    order by tenant_id, strength desc, at desc, evidence desc
), touched as (
    select c.id, c.tenant_id, c.language_detected as previous, m.since,
        coalesce((k.strength, false, k.at, k.evidence)
                 > (c.language_strength, c.language_own, c.language_at, c.language_evidence), false) as holds_less,
        k.language, k.confidence, k.strength, k.at, k.evidence
    from sms_conversations c
    join tenant t on t.tenant_id = c.tenant_id
    left join known k on k.tenant_id = c.tenant_id
    left join mark m on m.id = c.id
    where m.id is not null
       or (k.strength, false, k.at, k.evidence)
          > (c.language_strength, c.language_own, c.language_at, c.language_evidence)
    order by c.account_sid, c.phone_number_canonical
    for no key update of c
), updated as (
    update sms_conversations c
    set language_detected = case when o.holds_less then o.language else c.language_detected end,
        language_confidence = case when o.holds_less then o.confidence else c.language_confidence end,
        language_strength = case when o.holds_less then o.strength else c.language_strength end,
        language_own = c.language_own and not o.holds_less,
        language_at = case when o.holds_less then o.at else c.language_at end,
        language_evidence = case when o.holds_less then o.evidence else c.language_evidence end,
        tenant_unsettled_at = nullif(c.tenant_unsettled_at, o.since)
    from touched o where c.id = o.id
    returning c.id
), decided as (
    insert into sms_tenants (tenant_id, language_decided, push_language, push_due_at)
    select o.tenant_id, o.language, o.language, $now from own o where o.strength >= $strength order by o.tenant_id
    on conflict (tenant_id) do update
    set language_decided = excluded.language_decided,
        push_language = nullif(excluded.push_language, sms_tenants.language_preference),
        push_due_at = coalesce(sms_tenants.push_due_at, excluded.push_due_at)
    where sms_tenants.language_decided is distinct from excluded.language_decided
), announced as (
    select sms_emit_events(
        array_agg($language_event::text), array_agg(o.id order by o.id), array_agg(null::uuid),
        array_agg(sms_language_data(o.language, o.previous, o.confidence, 'tenant', null) order by o.id),
        $now) as events
    from touched o join updated u on u.id = o.id where o.holds_less and o.language <> o.previous
)
select o.id, o.previous, o.language from touched o cross join announced where o.holds_less",
);

row! {
    struct Unsettled {
        tenant_id: String,
    }
}

const UNSETTLED: Statement<Unsettled> = Statement::new(
    "find unsettled tenants",
    "
select distinct tenant_id from (
    select tenant_id from sms_conversations
    where tenant_unsettled_at <= $marked_by and tenant_id is not null
    order by tenant_unsettled_at limit $limit) longest",
);

/// Returns tenants whose language has not been settled since `marked_by`, for at most `limit` conversations, oldest
/// first.
///
/// # Errors
///
/// [`DbError`]: the next run finds them.
pub async fn unsettled(db: &Db, marked_by: Timestamp, limit: i64) -> Result<Vec<String>, DbError> {
    let rows = db.query_idempotent(&UNSETTLED, &params! { marked_by, limit }).await?;
    Ok(rows.into_iter().map(|row| row.tenant_id).collect())
}

/// Applies each tenant's language to their numbers with weaker evidence, and records the pending profile updates.
/// Returns the changed conversations.
///
/// Idempotent.
///
/// # Errors
///
/// [`DbError`]: nothing is changed.
pub async fn settle_languages(
    db: &Db,
    tenant_ids: &[String],
    now: Timestamp,
    preference_confidence: f32,
) -> Result<Vec<Carried>, DbError> {
    let strength = Strength::of(preference_confidence) as i16;
    // In hundredths.
    let confidence = (f64::from(preference_confidence) * 100.0).round() / 100.0;
    let language_event = EventType::LanguageChanged;
    db.query_idempotent(&SETTLE, &params! { tenant_ids, now, confidence, strength, language_event }).await
}

statements!(SETTLE, UNSETTLED);
