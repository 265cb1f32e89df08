-- Maintains opted_out_at and opted_out_scopes of sms_conversations: the latest entry of a scope wins, in whatever order
-- entries arrive (sms_consent_by_scope). Clears deactivated_at if the number was opted in after the day on which it was
-- deactivated (sms_deactivate_numbers).
--
-- An opt-out waits for calls to Twilio that have passed the gate (sms_pass_send_gate), which share the same advisory lock.
-- The conversation's row is not used for that, because each new message would wait for Twilio. The locks end with the
-- transaction, so a transaction pooler works. They are taken in the order of their keys.
create or replace function sms_conversation_opt_out() returns trigger language plpgsql
-- A connection keeps plans that it made when there were few conversations.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    gate bigint;
begin
    for gate in
        select distinct uuid_hash_extended(conversation_id, 0) from inserted where action = 'opt_out' order by 1
    loop
        perform pg_advisory_xact_lock(gate);
    end loop;
    if not exists (select from inserted) then
        return null;
    end if;
    with latest as (
        select distinct on (e.conversation_id, e.scope) e.conversation_id, e.scope, e.action, e.created_at
        from sms_consent_by_scope(array(select distinct i.conversation_id from inserted i)) e
        order by e.conversation_id, e.scope, e.created_at desc, e.id desc
    ), state as (
        select l.conversation_id,
            min(l.created_at) filter (where l.action = 'opt_out' and l.scope = 'all') as opted_out_at,
            coalesce(array_agg(l.scope order by l.scope)
                     filter (where l.action = 'opt_out' and l.scope <> 'all'), '{}') as scopes
        from latest l group by l.conversation_id
    )
    update sms_conversations c
    set opted_out_at = case when s.opted_out_at is not null then coalesce(c.opted_out_at, s.opted_out_at) end,
        opted_out_scopes = s.scopes,
        deactivated_at = case when exists (select from inserted i where i.conversation_id = c.id and i.action = 'opt_in'
                                           and i.created_at >= c.deactivated_at + interval '24 hours') then null
                              else c.deactivated_at end
    from state s where c.id = s.conversation_id;
    return null;
end $$;

create or replace trigger sms_opt_out_events_inserted after insert on sms_opt_out_events
    referencing new table as inserted
    for each statement execute function sms_conversation_opt_out();
