-- Locks the senders of a batch and returns what a claim of their messages needs. The batch consists of messages (named) and
-- wake-ups (woken). Returns rows of one kind each:
-- - repeated: an earlier call stored claims with these attempt ids, and its response was lost;
-- - done: a message of the batch that was processed before;
-- - sender: a locked sender, followed by its messages: those that are due and are not being changed by another
--   function, locked, at most its share of max_number. If "allowed" is given, only these are locked;
-- - waiting: a message. The first one of each priority that is not locked follows the locked ones.
-- A message with media is an MMS. Replaces sms_lock_senders, which does not return that and the counters of MMS and
-- days.
-- A batch of wake-ups names no messages. With "id = any('{}')" Postgres may scan a whole partial index, hence the joins with
-- unnest here and in the functions below.
create or replace function sms_lock_senders_2(
    named uuid[], woken text[], attempt_ids uuid[], allowed uuid[], max_number int, now_at timestamptz)
returns table (kind text, sender text, ready_at timestamptz, mms_ready_at timestamptz, day_ends_at timestamptz, day_sent int,
    day_full_until timestamptz, held_until timestamptz, held_reason text, wake_at timestamptz,
    message_id uuid, priority text, segments int, is_mms bool, due_at timestamptz, is_locked bool, opted_out bool,
    send_before timestamptz, wanted_at timestamptz)
language plpgsql
-- A connection keeps plans that it made when few messages waited. With 100,000 they must still read the index in its order
-- and stop.
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set jit = off
as $$
#variable_conflict use_column
declare
    senders text[];
    of_priority text;
    locked_ids uuid[];
    share int;
begin
    if exists (select from sms_send_attempts a where a.id = attempt_ids[1]) then
        kind := 'repeated';
        return next; return;
    end if;
    kind := 'done';
    for message_id in
        select m.id from unnest(named) as n (id) join sms_messages m on m.id = n.id
        where (m.claimed_at is not null or m.delivery_status <> 'pending' or m.twilio_sid is not null)
    loop return next; end loop;

    senders := sms_create_senders(named, woken);
    share := greatest(1, max_number / greatest(1, cardinality(senders)));
    -- In one order everywhere, so that concurrent batches do not deadlock.
    for sender, ready_at, mms_ready_at, day_ends_at, day_sent, day_full_until, held_until, held_reason, wake_at in
        select s.sender, greatest(s.ready_at, now_at), s.mms_ready_at, s.day_ends_at, s.day_sent, s.day_full_until,
            s.held_until, s.held_reason, s.wake_at
        from sms_senders s where s.sender = any(senders) order by s.sender for no key update
    loop
        kind := 'sender';
        return next;
        kind := 'waiting';
        locked_ids := '{}';
        foreach of_priority in array array['urgent', 'normal', 'bulk'] loop
            for priority, message_id, segments, due_at, is_locked, opted_out, send_before, wanted_at, is_mms in
                select of_priority, d.message_id, d.segments, d.due_at, true, d.opted_out, d.send_before, d.wanted_at,
                    (select m.media <> '[]' from sms_messages m where m.id = d.message_id)
                from sms_due_sends(sender, of_priority, allowed, now_at, share - cardinality(locked_ids)) d
            loop
                locked_ids := locked_ids || message_id;
                return next;
            end loop;
            select of_priority, m.id, coalesce(m.segments, 1), m.media <> '[]', m.next_attempt_at, false, false,
                m.send_before, coalesce(m.send_at, m.created_at)
            into priority, message_id, segments, is_mms, due_at, is_locked, opted_out, send_before, wanted_at
            from sms_messages m
            where m.sender = sms_lock_senders_2.sender and m.priority = of_priority and m.id <> all(locked_ids)
              and m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
            order by m.next_attempt_at limit 1;
            if found then return next; end if;
        end loop;
    end loop;
end $$;
