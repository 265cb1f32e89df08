-- Finds the message of a SID, and whether the SID is its latest create:
-- - by the message's SID: its latest create;
-- - else by an attempt's SID: an older create;
-- - else by our own id in the callback URL (hint): a create whose response was lost. An attempt gets the SID.
create or replace function sms_find_create(sid text, hint uuid, at timestamptz, out message_id uuid, out is_latest bool)
language plpgsql as $$
#variable_conflict use_column
declare
    is_known bool;
begin
    select s.message_id into message_id from sms_message_sids s where s.packed_sid = sms_pack_sid(sid);
    is_known := found;
    select m.id, case when is_known then m.twilio_sid is not distinct from sid else m.twilio_sid is null end
    into message_id, is_latest
    from sms_messages m where m.id = coalesce(message_id, hint) and (is_known or m.direction = 'outbound');
    if message_id is not null and not is_known then
        perform sms_witness_create(message_id, sid, at);
    end if;
end $$;
