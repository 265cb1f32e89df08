-- What was begun about a tenant and must not be forgotten: their language that is to be settled anew, and the spellings of
-- their number that are still to be asked for. First of all, languages that were never decided.

-- Messages from before conversations had a language (0009) count as if they came now: the greatest evidence of each
-- conversation, ordered as common/src/domain/language/decision.rs does it. Nobody was told of these languages by an event,
-- and nobody is now: what they were said in is long past. A number that was passed on keeps what its new tenant wrote, since
-- it can't be told where the old one's messages end.
-- It comes before the columns, whose making locks everybody out for as long as the rest of the transaction takes.
with evidence as (
    select distinct on (m.conversation_id) m.conversation_id, m.language, m.language_confidence as confidence, s.strength,
        m.created_at as at, m.twilio_sid as evidence
    from sms_messages m
    -- In single precision, as it is computed: nine tenths are nine tenths.
    cross join lateral (select case when m.language_confidence::float4 >= 0.9::float4 then 3
                                    when m.language_confidence::float4 >= 0.7::float4 then 2 else 1 end::int2) s (strength)
    where m.direction = 'inbound' and m.language <> 'unknown' and m.language_strength = 0 and m.twilio_sid is not null
    order by m.conversation_id, s.strength desc, m.created_at desc, m.twilio_sid desc
), passed_on as (
    select conversation_id from sms_events
    where event_type = 'conversation.tenant_identified' and data->>'previous_tenant_id' is not null
), greater as (
    select e.* from evidence e join sms_conversations c on c.id = e.conversation_id
    where (e.strength, true, e.at, e.evidence)
          > (c.language_strength, c.language_own, c.language_at, c.language_evidence)
      and not exists (select from passed_on p where p.conversation_id = c.id)
    order by c.account_sid, c.phone_number_canonical
    for no key update of c
)
update sms_conversations c
set language_detected = g.language, language_confidence = g.confidence, language_strength = g.strength,
    language_own = true, language_at = g.at, language_evidence = g.evidence
from greater g where c.id = g.conversation_id;

alter table sms_conversations
    -- Since when the language of the conversation's tenant is to be settled anew: somebody was about to, and has not yet.
    add column tenant_unsettled_at timestamptz,
    -- The spelling by which the Monitor knew a new tenant's number, while those after it are still to be asked for.
    add column tenant_found_by     text;

create index sms_conversations_unsettled on sms_conversations (tenant_unsettled_at) where tenant_unsettled_at is not null;

-- The languages that were just decided are the tenants' as well.
update sms_conversations set tenant_unsettled_at = clock_timestamp()
where tenant_id is not null and language_own;

-- As in 0009, and now marks a tenant's conversation whose new evidence may be news to their other numbers or their profile:
-- another language, a greater strength, the number's first own, or any if there are other numbers to compare with. Whoever
-- settles it takes exactly the mark away that it saw, so that what comes meanwhile is settled again.
create or replace function sms_conversation_activity() returns trigger language plpgsql as $$
begin
    with fresh as (
        select conversation_id, count(*) as messages, max(created_at) as latest
        from inserted group by conversation_id order by conversation_id
    ), evidence as (
        select distinct on (conversation_id) conversation_id, language, language_confidence, language_strength,
            created_at, twilio_sid, request_id
        from inserted where language_strength > 0
        order by conversation_id, language_strength desc, created_at desc, twilio_sid desc
    ), prior as (
        select c.tenant_id, c.language_detected as previous,
            c.tenant_id is not null
            and (e.language <> c.language_detected or e.language_strength > c.language_strength or not c.language_own
                 or exists (select from sms_conversations o where o.tenant_id = c.tenant_id and o.id <> c.id)) as is_news,
            e.*
        from evidence e join sms_conversations c on c.id = e.conversation_id
        where (e.language_strength, true, e.created_at, e.twilio_sid)
              > (c.language_strength, c.language_own, c.language_at, c.language_evidence)
        for no key update of c
    ), changed as (
        insert into sms_events (id, event_type, conversation_id, data, created_at)
        select gen_random_uuid(), 'conversation.language_changed', p.conversation_id,
            jsonb_build_object('language', p.language, 'confidence', p.language_confidence, 'previous', p.previous,
                               'source', 'message', 'tenant_id', p.tenant_id, 'request_id', p.request_id),
            -- Now rather than when the message came: who reads events by time must not miss one.
            now()
        from prior p where p.language <> p.previous
    )
    update sms_conversations c
    set message_count = c.message_count + f.messages,
        last_message_at = greatest(c.last_message_at, f.latest),
        language_detected = coalesce(p.language, c.language_detected),
        language_confidence = coalesce(p.language_confidence, c.language_confidence),
        language_strength = coalesce(p.language_strength, c.language_strength),
        language_own = c.language_own or p.conversation_id is not null,
        language_at = coalesce(p.created_at, c.language_at),
        language_evidence = coalesce(p.twilio_sid, c.language_evidence),
        tenant_unsettled_at = case when p.is_news then clock_timestamp() else c.tenant_unsettled_at end
    from fresh f left join prior p on p.conversation_id = f.conversation_id
    where c.id = f.conversation_id;
    return null;
end $$;
