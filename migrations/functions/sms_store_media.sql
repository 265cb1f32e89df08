-- Marks a file as stored, with its event, after its object was written. Returns whether the file is stored; false if its content
-- was erased meanwhile, so that the caller must delete the object.
--
-- A repetition changes nothing and returns the same. next_attempt is when the file is deleted at Twilio; null for never.
create or replace function sms_store_media(
    file_id uuid, file_type text, bytes integer, hash text, next_attempt timestamptz, event_type text, event_data text,
    at timestamptz)
returns boolean language plpgsql as $$
declare
    message uuid;
    conversation uuid;
begin
    update sms_media f
    set status = 'stored', detected_type = file_type, size = bytes, sha256 = hash, error = null, attempts = 0,
        next_attempt_at = next_attempt
    where f.id = file_id and f.status = 'pending' and f.erased_at is null
    returning f.message_id into message;
    if message is null then
        return exists (select from sms_media f where f.id = file_id and f.status = 'stored' and f.erased_at is null);
    end if;
    select m.conversation_id into conversation from sms_messages m where m.id = message;
    perform sms_emit_events(array[event_type], array[conversation], array[message], array[event_data], at);
    return true;
end $$;
