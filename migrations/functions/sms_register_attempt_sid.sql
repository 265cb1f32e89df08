-- Registers the SID of an attempt. A SID of another message or attempt is an error.
create or replace function sms_register_attempt_sid() returns trigger language plpgsql as $$
begin
    insert into sms_message_sids as s (packed_sid, message_id, attempt_id)
    values (sms_pack_sid(new.twilio_sid), new.message_id, new.id)
    on conflict (packed_sid) do update set attempt_id = excluded.attempt_id
        where s.message_id = excluded.message_id and coalesce(s.attempt_id, excluded.attempt_id) = excluded.attempt_id;
    if not found then
        raise unique_violation using message = 'the SID belongs to another message or attempt',
            constraint = 'sms_message_sids_pkey';
    end if;
    return new;
end $$;

create or replace trigger sms_send_attempts_new_sid before insert on sms_send_attempts
    for each row when (new.twilio_sid is not null) execute function sms_register_attempt_sid();
create or replace trigger sms_send_attempts_changed_sid before update of twilio_sid on sms_send_attempts
    for each row when (new.twilio_sid is distinct from old.twilio_sid and new.twilio_sid is not null)
    execute function sms_register_attempt_sid();
