-- Returns a time as events contain it.
create or replace function sms_event_time(at timestamptz) returns text
language sql immutable parallel safe as $$
    select btrim(to_json(at at time zone 'UTC')::text, '"') || 'Z'
$$;
