-- Makes the next messages of a resumed batch due again, in the order of their ids, after the given one. Returns how many, and the
-- last id that was looked at; null at the end. A message without send_before expires by its age, which begins again.
create or replace function sms_resume_in_batch(batch uuid, after uuid, max_number int, at timestamptz)
returns table (resumed int, last_id uuid)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
declare
    seen uuid[];
begin
    seen := array(select m.id from sms_messages m where m.batch_id = batch and m.id > after order by m.id limit max_number);
    with held as (
        select m.id from unnest(seen) as t (id) join sms_messages m on m.id = t.id
        where m.delivery_status = 'pending' and m.claimed_at is null and m.next_attempt_at = sms_paused_until()
        order by m.id for no key update of m
    ), resumed as (
        update sms_messages m
        set next_attempt_at = greatest(m.send_at, at), send_at = case when m.send_before is null then greatest(m.send_at, at)
                                                                  else m.send_at end
        from held h where m.id = h.id
        returning m.id
    )
    select count(*)::integer into resumed from resumed;
    last_id := seen[max_number];
    return next;
end $$;
