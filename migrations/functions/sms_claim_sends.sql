-- Claims messages for the senders of a batch: of each sender the most urgent ones, whichever messages the batch names, as
-- many as its pace and its hold allow. Returns rows of one kind each:
-- - claimed: no other function can send it any more. Its attempt is stored before the call to Twilio;
-- - refused: it failed permanently, because its recipient has opted out or it has expired;
-- - done: named by the batch, and processed before;
-- - wake: the sender's next wake-up, to be queued wake_in seconds from now.
--
-- The batch consists of messages (named) and wake-ups (senders, and when each was due). attempt_ids are used in order; a
-- retried call, recognized by them, returns what the first one claimed. Each sender pattern has a rate in segments per
-- second, a burst in segments and the burst of bulk messages; the first matching pattern applies. A probe extends a hold
-- by probe_hold, or by repair_hold if our configuration is the reason. If "allowed" is given, only these messages may be
-- claimed.
create or replace function sms_claim_sends(
    named uuid[], woken text[], woken_at timestamptz[], attempt_ids uuid[], allowed uuid[],
    patterns text[], rates float8[], bursts float8[], bulk_bursts float8[], probe_hold interval, repair_hold interval,
    max_age interval, horizon interval, now_at timestamptz)
returns table (kind text, message_id uuid, attempt_id uuid, attempt_number int, sender text, to_number text,
    from_number text, messaging_service_sid text, message_content text, media jsonb, request_id text,
    send_before timestamptz, wanted_at timestamptz, due_at timestamptz, is_probe bool, wake_at timestamptz, wake_in float8)
language plpgsql
-- A connection keeps plans that it made when few messages waited. With 100,000 they must still read the index in its order
-- and stop.
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set jit = off
as $$
#variable_conflict use_column
declare
    senders text[];
    held sms_senders;
    picked record;
    next_wake record;
    pace record;
    unused uuid[] := attempt_ids;
begin
    if exists (select from sms_send_attempts a where a.id = attempt_ids[1]) then
        return query select 'claimed', c.*, null::timestamptz, null::float8 from sms_claimed(attempt_ids, now_at) c;
        if found then return; end if;
    end if;
    kind := 'done';
    for message_id in
        select m.id from sms_messages m where m.id = any(named)
          and (m.claimed_at is not null or m.delivery_status <> 'pending' or m.twilio_sid is not null)
    loop return next; end loop;

    senders := sms_create_senders(named, woken);
    -- In one order everywhere, so that concurrent batches do not deadlock.
    for held in select s.* from sms_senders s where s.sender = any(senders) order by s.sender for no key update loop
        pace := sms_pace_of(held.sender, patterns, rates, bursts, bulk_bursts);
        picked := sms_pick_sends(held, pace.rate, pace.burst, pace.bulk_burst, allowed, max_age, now_at,
            least(greatest(1, cardinality(attempt_ids) / cardinality(senders)), cardinality(unused)));
        kind := 'refused';
        foreach message_id in array picked.refused loop return next; end loop;
        if cardinality(picked.taken) > 0 then
            perform sms_start_attempts(picked.taken, unused, now_at);
            return query select 'claimed', c.*, null::timestamptz, null::float8
            from sms_claimed(unused[:cardinality(picked.taken)], now_at) c;
            unused := unused[cardinality(picked.taken) + 1:];
        end if;

        if held.held_until is not null and cardinality(picked.taken) > 0 then
            held.held_until := now_at + case when held.held_reason = 'configuration' then repair_hold else probe_hold end;
        end if;
        next_wake := sms_next_wake_up(held, woken, woken_at, pace.rate, pace.burst, pace.bulk_burst, picked.backlog,
            cardinality(picked.taken || picked.refused) = 0, horizon, now_at);
        if next_wake.is_new then
            select 'wake', null, held.sender, next_wake.wake_at, next_wake.wake_in
            into kind, message_id, sender, wake_at, wake_in;
            return next;
        end if;
        update sms_senders s set ready_at = picked.ready_at, held_until = held.held_until, wake_at = next_wake.wake_at
        where s.sender = held.sender;
    end loop;
end $$;
