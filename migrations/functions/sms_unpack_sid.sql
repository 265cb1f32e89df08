-- Returns the message SID of a key. See sms_pack_sid.
create or replace function sms_unpack_sid(packed bytea) returns text
language sql stable parallel safe as $$
    select case get_byte(packed, 0)
        when 1 then 'SM' || encode(substr(packed, 2), 'hex')
        when 2 then 'MM' || encode(substr(packed, 2), 'hex')
        else convert_from(substr(packed, 2), 'UTF8')
    end
$$;
