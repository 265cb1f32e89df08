-- Ignores an inbound message whose SID belongs to one of our own creates: it is not from a handset.
create or replace function sms_refuse_own_sid() returns trigger language plpgsql as $$
begin
    if exists (select from sms_send_attempts a where a.twilio_sid = new.twilio_sid) then
        return null;
    end if;
    return new;
end $$;

create or replace trigger sms_messages_refuse_own_sid before insert on sms_messages
    for each row when (new.direction = 'inbound') execute function sms_refuse_own_sid();
