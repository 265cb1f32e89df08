-- Makes sure that a SID that Twilio reports for a message belongs to an attempt: one that has it already, or the latest
-- whose outcome is open, or the latest that was considered not processed, or a new one, as after a restore of old data.
create or replace function sms_witness_create(of_message uuid, sid text, at timestamptz) returns void
language plpgsql as $$
begin
    if exists (select from sms_message_sids s where s.packed_sid = sms_pack_sid(sid) and s.attempt_id is not null) then
        return;
    end if;
    update sms_send_attempts a
    set outcome = 'accepted', twilio_sid = sid, finished_at = coalesce(a.finished_at, at),
        detail = 'reported by the status callback'
    where a.id = (select o.id from sms_send_attempts o
                  where o.message_id = of_message and o.twilio_sid is null and o.outcome is distinct from 'rejected'
                  order by coalesce(o.outcome, 'unknown') = 'unknown' desc, o.number desc limit 1);
    if not found then
        insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, detail, started_at, finished_at)
        select sms_new_id(), of_message, 1 + coalesce(max(a.number), 0), 'accepted', sid,
            'reported by the status callback', at, at
        from sms_send_attempts a where a.message_id = of_message;
    end if;
end $$;
