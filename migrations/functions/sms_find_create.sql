-- Finds the message of a SID, and whether the SID is its latest create:
-- - by the message's SID: its latest create;
-- - else by an attempt's SID: an older create;
-- - else by our own id in the callback URL (hint): a create whose response was lost. An attempt gets the SID.
create or replace function sms_find_create(sid text, hint uuid, at timestamptz, out message_id uuid, out is_latest bool)
language plpgsql as $$
#variable_conflict use_column
declare
    of_attempt bool;
begin
    is_latest := true;
    select m.id into message_id from sms_messages m where m.twilio_sid = sid;
    if message_id is not null then
        return;
    end if;
    select a.message_id into message_id from sms_send_attempts a where a.twilio_sid = sid;
    of_attempt := found;
    select m.id, m.twilio_sid is null and not of_attempt into message_id, is_latest
    from sms_messages m where m.id = coalesce(message_id, hint) and m.direction = 'outbound';
    if message_id is not null and not of_attempt then
        perform sms_witness_create(message_id, sid, at);
    end if;
end $$;
