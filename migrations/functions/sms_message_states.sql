-- Locks messages, in the order of their ids, and returns their states for sms_emit_status_events.
create or replace function sms_message_states(message_ids uuid[]) returns sms_message_state[]
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
    return array(
        select row(m.id, m.delivery_status, m.error_code, m.parked_at is not null)::sms_message_state
        from sms_messages m where m.id = any(message_ids) order by m.id for no key update);
end $$;
