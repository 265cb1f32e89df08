-- Returns the messages that these attempts hold since now_at, in the order of the attempts. A sender with a hold sends one
-- message, as a probe.
create or replace function sms_claimed(attempt_ids uuid[], now_at timestamptz)
returns table (message_id uuid, attempt_id uuid, attempt_number int, sender text, to_number text, from_number text,
    messaging_service_sid text, message_content text, media jsonb, request_id text, send_before timestamptz,
    wanted_at timestamptz, due_at timestamptz, is_probe bool)
language plpgsql stable as $$
#variable_conflict use_column
begin
    return query
    select m.id, a.id, a.number, s.sender, m.to_number, m.from_number, m.messaging_service_sid, m.message_content, m.media,
        m.request_id, m.send_before, coalesce(m.send_at, m.created_at), m.next_attempt_at, s.held_until is not null
    from unnest(attempt_ids) with ordinality as t (id, position)
    join sms_send_attempts a on a.id = t.id
    join sms_messages m on m.id = a.message_id
    join sms_senders s on s.sender = m.sender
    where a.outcome is null and m.claimed_at = now_at and m.delivery_status = 'pending'
    order by t.position;
end $$;
