-- Cancels the next waiting messages of a cancelled batch, in the order of their ids, after the given one. Returns how many were
-- canceled, and the last id that was looked at; null at the end. A message that a function holds is skipped: its outcome
-- decides, or a later run cancels it.
create or replace function sms_cancel_in_batch(
    batch uuid, after uuid, max_number int, at timestamptz, status_event text, failed_event text)
returns table (canceled int, last_id uuid)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
declare
    before sms_message_state[];
    seen uuid[];
begin
    seen := array(select m.id from sms_messages m where m.batch_id = batch and m.id > after order by m.id limit max_number);
    before := array(
        select row(m.id, m.delivery_status, m.error_code, m.parked_at is not null)::sms_message_state
        from unnest(seen) as t (id) join sms_messages m on m.id = t.id
        where m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
        order by m.id for no key update of m skip locked);
    update sms_messages m set delivery_status = 'canceled', error_code = null
    from unnest(before) as b where m.id = b.message_id;
    canceled := cardinality(before);
    perform sms_emit_status_events(before, status_event, failed_event, at);
    last_id := seen[max_number];
    return next;
end $$;
