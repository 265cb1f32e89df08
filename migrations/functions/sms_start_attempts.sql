-- Claims messages: marks them and stores an attempt for each, with the given ids in order.
create or replace function sms_start_attempts(message_ids uuid[], attempt_ids uuid[], now_at timestamptz)
returns void language plpgsql as $$
begin
    update sms_messages m set claimed_at = now_at from unnest(message_ids) as t (id) where m.id = t.id;
    insert into sms_send_attempts (id, message_id, number, started_at)
    select attempt_ids[t.position], t.id, 1 + (select count(*) from sms_send_attempts a where a.message_id = t.id), now_at
    from unnest(message_ids) with ordinality as t (id, position);
end $$;
