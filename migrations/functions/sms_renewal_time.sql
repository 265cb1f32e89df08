-- Returns when a message with a transient failure is created again, or null if it has been created too often, would expire
-- before, or was erased. renewals are the delays in seconds, comma-separated, by the number of creates so far.
create or replace function sms_renewal_time(
    held sms_messages, sid text, renewals text, max_age_seconds float8, at timestamptz)
returns timestamptz language plpgsql as $$
declare
    renewal timestamptz;
begin
    if held.twilio_sid = sid then
        perform sms_witness_create(held.id, sid, at);
    end if;
    select at + make_interval(secs => (string_to_array(renewals, ','))[count(*)::int]::float8) into renewal
    from sms_send_attempts a where a.message_id = held.id and a.twilio_sid is not null;
    if held.erased_at is null and renewal < coalesce(held.send_before,
                          coalesce(held.send_at, held.created_at) + make_interval(secs => max_age_seconds)) then
        return renewal;
    end if;
    return null;
end $$;
