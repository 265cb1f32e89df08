-- Records consent in the ledger of a number, and returns its entry; nothing if there is no conversation and no recipient to
-- create one with. If the latest entry states the same, it is returned, and nothing is written: a request may be repeated.
-- An opt-in that was recorded before (sms_has_stated) is not recorded again; is_superseded tells that an opt-out followed it.
--
-- - The conversation is that of the first known variant of the number. Locked before the ledger is read, as for inbound messages.
-- - A trigger applies the entry. An opt-out waits for calls to Twilio that have passed the gate (sms_conversation_opt_out).
-- - The event is written last, and only if the entry changed what applies to the number.
create or replace function sms_record_consent_2(
    account text, variants text[], recipient text, recipient_original text, new_conversation uuid, entry_id uuid,
    entry_action text, entry_scope text, entry_source text, caller_source text, caller_evidence text, by_key uuid,
    event_type text, event_data text, at timestamptz)
returns table (action text, scope text, source text, evidence text, recorded_at timestamptz, recorded_by uuid,
    is_superseded bool)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
declare
    conversation uuid;
    latest sms_opt_out_events;
begin
    select c.id into conversation from unnest(variants) with ordinality as v (number, position)
    join sms_conversations c on c.account_sid = account and c.phone_number_canonical = v.number
    order by v.position limit 1;
    if conversation is null then
        if recipient is null then
            return;
        end if;
        insert into sms_conversations as c (id, account_sid, phone_number_canonical, phone_number_original, created_at)
        values (new_conversation, account, recipient, recipient_original, at)
        on conflict (account_sid, phone_number_canonical)
            do update set phone_number_canonical = excluded.phone_number_canonical
        returning c.id into conversation;
    end if;
    perform from sms_conversations c where c.id = conversation for no key update;

    select o.* into latest from sms_opt_out_events o where o.conversation_id = conversation
    order by o.created_at desc, o.id desc limit 1;
    if entry_action = 'opt_in'
        and sms_has_stated(conversation, entry_action, entry_scope, caller_source, caller_evidence)
    then
        return query
        select o.action, o.scope, o.stated_source, o.stated_evidence, o.created_at, o.api_key_id, exists (
            select from sms_opt_out_events later where later.conversation_id = conversation and later.action = 'opt_out'
              and (later.created_at, later.id) > (o.created_at, o.id))
        from sms_opt_out_events o
        where o.conversation_id = conversation and o.action = entry_action and o.scope = entry_scope
          and o.stated_source = caller_source and o.stated_evidence = caller_evidence
        order by o.created_at desc, o.id desc limit 1;
        return;
    end if;
    if latest.action is distinct from entry_action or latest.scope is distinct from entry_scope
        or latest.stated_source is distinct from caller_source or latest.stated_evidence is distinct from caller_evidence
    then
        insert into sms_opt_out_events as o (id, conversation_id, action, scope, source, evidence, stated_source,
            stated_evidence, api_key_id, created_at)
        values (entry_id, conversation, entry_action, entry_scope, entry_source, entry_id::text, caller_source,
            caller_evidence, by_key, greatest(at, latest.created_at))
        returning o.* into latest;
        if cardinality(sms_opt_out_changes(array[conversation], array[entry_id::text])) > 0 then
            perform sms_emit_events(array[event_type], array[conversation], array[null::uuid], array[event_data], at);
        end if;
    end if;
    return query select latest.action, latest.scope, latest.stated_source, latest.stated_evidence, latest.created_at,
        latest.api_key_id, false;
end $$;
