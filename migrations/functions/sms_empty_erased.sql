-- Removes the content of erased messages, whichever statement changes them.
--
-- - A message that would be sent, or sent again, is canceled.
-- - A message that may be at Twilio keeps its content until that is known: while it is claimed, and while its outcome is
--   searched for in Twilio's list, which compares the text. Then it is emptied.
create or replace function sms_empty_erased() returns trigger language plpgsql as $$
begin
    if new.delivery_status = 'pending' and new.claimed_at is null then
        new.delivery_status := 'canceled';
        new.error_code := 'content_erased';
    end if;
    if new.claimed_at is null and (new.delivery_status <> 'unknown' or new.parked_at is not null) then
        new.message_content := '';
        new.media := '[]';
        new.metadata := null;
        new.workflow_type := null;
        new.workflow_id := null;
        new.trace_context := null;
    end if;
    return new;
end $$;

create or replace trigger sms_messages_empty_erased before insert or update on sms_messages
    for each row when (new.erased_at is not null) execute function sms_empty_erased();
