-- Returns the lowest UUIDv7 of a time. A table that is partitioned by id has these as bounds.
create or replace function sms_first_id(at timestamptz) returns uuid
language sql immutable parallel safe as $$
    select (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
