-- Maintains sms_conversations.opted_out_at: the latest entry of the ledger wins, in whatever order entries arrive.
-- Clears deactivated_at if the number was opted in after the day on which it was deactivated (sms_deactivate_numbers).
--
-- An opt-out waits for calls to Twilio that have passed the gate (sms_pass_send_gate), which share the same advisory lock.
-- The conversation's row is not used for that, because each new message would wait for Twilio. The locks end with the
-- transaction, so a transaction pooler works. They are taken in the order of their keys.
create or replace function sms_conversation_opt_out() returns trigger language plpgsql as $$
declare
    gate bigint;
begin
    for gate in
        select distinct uuid_hash_extended(conversation_id, 0) from inserted where action = 'opt_out' order by 1
    loop
        perform pg_advisory_xact_lock(gate);
    end loop;
    with latest as (
        select distinct on (conversation_id) conversation_id, action, created_at
        from sms_opt_out_events
        where conversation_id in (select conversation_id from inserted)
        order by conversation_id, created_at desc, id desc
    )
    update sms_conversations c
    set opted_out_at = case when latest.action = 'opt_out' then coalesce(c.opted_out_at, latest.created_at) end,
        deactivated_at = case when exists (select from inserted i where i.conversation_id = c.id and i.action = 'opt_in'
                                           and i.created_at >= c.deactivated_at + interval '24 hours') then null
                              else c.deactivated_at end
    from latest where c.id = latest.conversation_id;
    return null;
end $$;

create or replace trigger sms_opt_out_events_inserted after insert on sms_opt_out_events
    referencing new table as inserted
    for each statement execute function sms_conversation_opt_out();
