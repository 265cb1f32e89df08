-- Returns and locks the first due messages of a sender and priority. Locked rows are skipped: another function is changing
-- them, and the sender's lock must not wait for that.
create or replace function sms_due_sends(
    of_sender text, of_priority text, allowed uuid[], now_at timestamptz, max_number int)
returns table (message_id uuid, segments int, due_at timestamptz, opted_out bool, send_before timestamptz,
    wanted_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
begin
    return query
    select m.id, coalesce(m.segments, 1), m.next_attempt_at, c.opted_out_at is not null, m.send_before,
        coalesce(m.send_at, m.created_at)
    from (
        select * from sms_messages m
        where m.sender = of_sender and m.priority = of_priority
          and m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
          and m.next_attempt_at <= now_at and (allowed is null or m.id = any(allowed))
        order by m.next_attempt_at limit max_number
        for no key update skip locked
    ) m join sms_conversations c on c.id = m.conversation_id
    order by m.next_attempt_at;
end $$;
