-- Stores a plan for locked senders: fails the refused messages, and claims the taken ones. Their attempts, with these ids in
-- order, are stored before the call to Twilio. Returns the messages that the attempts hold. Events are written last.
-- Replaces sms_store_claims, which does not store the counters of MMS and days.
create or replace function sms_store_claims_2(
    refused uuid[], refusals text[], taken uuid[], attempt_ids uuid[],
    senders text[], ready_ats timestamptz[], mms_ready_ats timestamptz[], day_ends_ats timestamptz[], days_sent int[],
    day_full_untils timestamptz[], held_untils timestamptz[], wake_ats timestamptz[], now_at timestamptz,
    status_event text, failed_event text)
returns table (message_id uuid, attempt_id uuid, attempt_number int, sender text, to_number text, from_number text,
    messaging_service_sid text, message_content text, media jsonb, request_id text, send_before timestamptz,
    wanted_at timestamptz, due_at timestamptz, is_probe bool)
language plpgsql
-- Plans for a handful of rows in tables of any size.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    before sms_message_state[] := sms_message_states(refused);
begin
    update sms_messages m set delivery_status = 'failed', error_code = t.refusal
    from unnest(refused, refusals) as t (id, refusal) where m.id = t.id;
    perform sms_start_attempts(taken, attempt_ids, now_at);
    update sms_senders s
    set ready_at = t.ready_at, mms_ready_at = t.mms_ready_at, day_ends_at = t.day_ends_at, day_sent = t.day_sent,
        day_full_until = t.day_full_until, held_until = t.held_until, wake_at = t.wake_at
    from unnest(senders, ready_ats, mms_ready_ats, day_ends_ats, days_sent, day_full_untils, held_untils, wake_ats)
        as t (sender, ready_at, mms_ready_at, day_ends_at, day_sent, day_full_until, held_until, wake_at)
    where s.sender = t.sender;
    perform sms_emit_status_events(before, status_event, failed_event, now_at);
    return query select * from sms_claimed(attempt_ids, now_at);
end $$;
