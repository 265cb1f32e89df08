-- Stores a changed stream, or deletes a replay that is complete. Returns whether the stream exists.
create or replace function sms_save_stream(was sms_delivery_streams, stream sms_delivery_streams) returns bool
language plpgsql as $$
#variable_conflict use_column
begin
    if stream.kind = 'replay' and stream.position >= stream.target and not exists (
        select from sms_deliveries d where d.subscription_id = stream.subscription_id and d.kind = stream.kind) then
        delete from sms_delivery_streams d where d.subscription_id = stream.subscription_id and d.kind = stream.kind;
        return false;
    end if;
    if stream is distinct from was then
        update sms_delivery_streams d set position = stream.position, paused_until = stream.paused_until,
            failures = stream.failures, slow_until = stream.slow_until, hinted_at = stream.hinted_at,
            wake_at = stream.wake_at, is_full = stream.is_full, next_due_at = stream.next_due_at
        where d.subscription_id = stream.subscription_id and d.kind = stream.kind;
    end if;
    return true;
end $$;
