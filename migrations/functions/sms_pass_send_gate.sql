-- The gate before a call to Twilio. Returns a verdict for each attempt:
-- - go: the call may be made;
-- - settled: the attempt no longer holds its message, or the message must not be created again: its status is not pending,
--   or an attempt has a SID that counts as accepted (no failure was reported for it) or delivered;
-- - opted_out: the recipient has opted out of the message (sms_refuses). A clarification may pass a refusal in free text
--   (sms_may_clarify), and nothing else may;
-- - deactivated: the carrier has deactivated the recipient's number;
-- - stopped: its batch is paused or cancelled;
-- - too_late: its send_before has passed.
-- It waits for a STOP that is being committed. No recipient of a returned message can opt out until the caller's
-- transaction ends: sms_conversation_opt_out takes the same advisory lock exclusively.
create or replace function sms_pass_send_gate(attempt_ids uuid[], at timestamptz)
returns table (attempt_id uuid, verdict text) language plpgsql as $$
#variable_conflict use_column
declare
    gate bigint;
begin
    for gate in
        select distinct uuid_hash_extended(m.conversation_id, 0)
        from sms_send_attempts a join sms_messages m on m.id = a.message_id
        where a.id = any(attempt_ids) order by 1
    loop
        perform pg_advisory_xact_lock_shared(gate);
    end loop;
    -- A new statement, whose snapshot includes what was committed while the locks were waited for.
    return query
    select a.id,
        case
            when a.outcome is not null or m.claimed_at is distinct from a.started_at or m.delivery_status <> 'pending'
                or m.twilio_sid is not null or m.parked_at is not null then 'settled'
            when exists (
                select from sms_send_attempts o
                where o.message_id = m.id and o.twilio_sid is not null
                  and (not exists (select from sms_callbacks b where b.packed_sid = sms_pack_sid(o.twilio_sid)
                                   and b.event_status in ('failed', 'undelivered'))
                       or exists (select from sms_callbacks b where b.packed_sid = sms_pack_sid(o.twilio_sid)
                                  and b.event_status in ('delivered', 'read')))
            ) then 'settled'
            when sms_refuses(
                case when not (m.is_clarification and sms_may_clarify(m.in_reply_to)) then c.opted_out_at end,
                c.opted_out_scopes, coalesce(m.workflow_type, c.workflow_type), m.purpose) then 'opted_out'
            when c.deactivated_at is not null then 'deactivated'
            when m.send_before <= at then 'too_late'
            when b.state <> 'running' then 'stopped'
            else 'go'
        end
    from sms_send_attempts a
    join sms_messages m on m.id = a.message_id
    join sms_conversations c on c.id = m.conversation_id
    left join sms_batches b on b.id = m.batch_id
    where a.id = any(attempt_ids);
end $$;
