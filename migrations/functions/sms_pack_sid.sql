-- Returns the key of a message SID: one byte for its prefix and the 16 bytes of its hexadecimal digits, which is half of the
-- text. Any other text follows a zero byte.
create or replace function sms_pack_sid(sid text) returns bytea
language sql stable parallel safe as $$
    select case
        when sid ~ '^SM[0-9a-f]{32}$' then '\x01'::bytea || decode(substr(sid, 3), 'hex')
        when sid ~ '^MM[0-9a-f]{32}$' then '\x02'::bytea || decode(substr(sid, 3), 'hex')
        else '\x00'::bytea || convert_to(sid, 'UTF8')
    end
$$;
