-- Maintains a conversation's message count, latest activity and language when messages are inserted. It sees only rows
-- that were really inserted, so a repeated webhook has no effect (common/docs/decisions/0005).
--
-- - fresh: the inserted messages by conversation, in the order of ids, in which conversations are locked everywhere;
-- - evidence: the strongest language evidence of each conversation's new messages;
-- - prior: the conversations whose evidence is weaker. The order is that of common/src/domain/language/decision.rs.
--
-- tenant_unsettled_at is set if the evidence may matter to the tenant's other numbers or profile: another language, stronger
-- evidence, the first of this number, or any evidence if the tenant has other numbers. Who settles it clears exactly the
-- value that it read, so that newer evidence is settled again.
--
-- deactivated_at is cleared if the number wrote after the day on which it was deactivated (sms_deactivate_numbers).
create or replace function sms_conversation_activity() returns trigger language plpgsql as $$
begin
    with fresh as (
        select conversation_id, count(*) as messages, max(created_at) as latest,
            max(created_at) filter (where direction = 'inbound') as latest_inbound
        from inserted group by conversation_id order by conversation_id
    ), evidence as (
        select distinct on (conversation_id) conversation_id, language, language_confidence, language_strength,
            created_at, twilio_sid
        from inserted where language_strength > 0
        order by conversation_id, language_strength desc, created_at desc, twilio_sid desc
    ), prior as (
        select c.tenant_id is not null
            and (e.language <> c.language_detected or e.language_strength > c.language_strength or not c.language_own
                 or exists (select from sms_conversations o where o.tenant_id = c.tenant_id and o.id <> c.id)) as is_news,
            e.*
        from evidence e join sms_conversations c on c.id = e.conversation_id
        where (e.language_strength, true, e.created_at, e.twilio_sid)
              > (c.language_strength, c.language_own, c.language_at, c.language_evidence)
        for no key update of c
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
        tenant_unsettled_at = case when p.is_news then clock_timestamp() else c.tenant_unsettled_at end,
        deactivated_at = case when f.latest_inbound >= c.deactivated_at + interval '24 hours' then null
                              else c.deactivated_at end
    from fresh f left join prior p on p.conversation_id = f.conversation_id
    where c.id = f.conversation_id;
    return null;
end $$;

create or replace trigger sms_messages_inserted after insert on sms_messages
    referencing new table as inserted
    for each statement execute function sms_conversation_activity();
