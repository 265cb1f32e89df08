-- Returns a new UUIDv7: the current time in milliseconds in the first 48 bits, the version and variant of a random UUIDv4
-- with its version bits changed from 4 to 7.
create or replace function sms_new_id() returns uuid
language sql volatile parallel safe as $$
    select encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    placing substr(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint), 3) from 1 for 6),
            52, 1), 53, 1),
        'hex')::uuid
$$;
