-- Registers the SID of a message. Ignores an inbound message whose SID is known: it is stored already, or the SID belongs to
-- one of our own creates, so that the message is not from a handset. An outbound message has the SID of one of its attempts.
create or replace function sms_register_message_sid() returns trigger language plpgsql as $$
begin
    insert into sms_message_sids (packed_sid, message_id) values (sms_pack_sid(new.twilio_sid), new.id) on conflict do nothing;
    if found or exists (select from sms_message_sids s
                        where s.packed_sid = sms_pack_sid(new.twilio_sid) and s.message_id = new.id) then
        return new;
    elsif tg_op = 'INSERT' and new.direction = 'inbound' then
        return null;
    end if;
    raise unique_violation using message = 'the SID belongs to another message', constraint = 'sms_message_sids_pkey';
end $$;

create or replace trigger sms_messages_new_sid before insert on sms_messages
    for each row when (new.twilio_sid is not null) execute function sms_register_message_sid();
create or replace trigger sms_messages_changed_sid before update of twilio_sid on sms_messages
    for each row when (new.twilio_sid is distinct from old.twilio_sid and new.twilio_sid is not null)
    execute function sms_register_message_sid();
