-- Moves a message by the effect of its callbacks. "moves" is whether the message may leave its status for the new one.
--
-- - A transient failure makes it pending again, without a SID, as if it had never been sent. Its attempts keep their SIDs.
-- - A callback of the latest create moves it forward. A message without a SID gets it, and counts as queued at least: a
--   message that Twilio has must not be sent again.
-- - An older create matters only if it was delivered.
-- - The first error code of a create stays. A code that comes after the final status fills in a missing one.
create or replace function sms_apply_status(
    held sms_messages, sid text, new_status text, code text, is_latest bool, moves bool, renewal timestamptz)
returns void language plpgsql as $$
begin
    if held.id is null then
        return;
    elsif renewal is not null then
        update sms_messages m
        set twilio_sid = null, delivery_status = 'pending', error_code = code, next_attempt_at = renewal, parked_at = null
        where m.id = held.id;
    elsif is_latest and (moves or held.twilio_sid is null) then
        update sms_messages m
        set twilio_sid = sid,
            delivery_status = case when moves then new_status
                                   when held.delivery_status in ('pending', 'unknown') then 'queued'
                                   else held.delivery_status end,
            error_code = case when moves and held.twilio_sid = sid and new_status not in ('delivered', 'read')
                                   then coalesce(held.error_code, code)
                              when moves or held.delivery_status in ('pending', 'unknown') then code
                              else held.error_code end,
            parked_at = null
        where m.id = held.id;
    elsif is_latest and held.twilio_sid = sid and held.error_code is null
          and held.delivery_status in ('failed', 'undelivered') then
        update sms_messages m set error_code = code where m.id = held.id and code is not null;
    elsif not is_latest and moves and new_status in ('delivered', 'read') then
        update sms_messages m
        set twilio_sid = case when held.claimed_at is null then coalesce(held.twilio_sid, sid) else held.twilio_sid end,
            delivery_status = new_status, error_code = null, parked_at = null
        where m.id = held.id;
    end if;

    if moves and new_status = 'delivered' then
        update sms_conversations c set carrier_blocked_at = null
        where c.id = held.conversation_id and c.carrier_blocked_at is not null;
    end if;
end $$;
