-- Returns a new UUIDv7: the current time in milliseconds in the first 48 bits, the version 7, and the rest of a random UUIDv4.
create or replace function sms_new_id() returns uuid
language sql volatile parallel safe as $$
    select (lpad(to_hex(floor(date_part('epoch', clock_timestamp()) * 1000)::bigint), 12, '0')
        || '7' || substr(gen_random_uuid()::text, 16))::uuid
$$;
