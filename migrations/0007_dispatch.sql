-- Our senders, by number or messaging service: how fast each has been sending, and whether it is held. Rows come with
-- the first message of a sender (common/docs/decisions/0009-pace-in-postgres.md).
create table sms_senders (
    sender      text primary key,
    -- When what was handed over so far will have left at the sender's pace: the theoretical arrival time of the
    -- generic cell rate algorithm.
    ready_at    timestamptz not null default '-infinity',
    -- Nothing of this sender is handed over before, and then one message alone, whose outcome ends the hold or prolongs it.
    held_until  timestamptz,
    held_reason text check (held_reason in ('queue_full', 'limited', 'configuration')),
    held_code   text,
    -- The wake-up that is on its way to the queue's consumer: when it is due, which is also its name.
    wake_at     timestamptz
);

-- Where the recipient's clock is (an IANA name), when that is known better than by the number.
alter table sms_conversations add column time_zone text;

-- What may be handed over next: of one sender, by priority, the longest due first. The expression is the sender that
-- send-outbound names to Twilio.
create index sms_messages_to_dispatch
    on sms_messages (coalesce(from_number, messaging_service_sid, ''), priority, next_attempt_at)
    where delivery_status = 'pending' and claimed_at is null and twilio_sid is null;
-- What has waited for too long: each pending message is in one of these.
create index sms_messages_send_before on sms_messages (send_before)
    where delivery_status = 'pending' and claimed_at is null and send_before is not null;
create index sms_messages_wanted_at on sms_messages (coalesce(send_at, created_at))
    where delivery_status = 'pending' and claimed_at is null and send_before is null;
-- The index before them served a sweep that looked at every message.
drop index sms_messages_due;
-- From here on nobody reads when a message was put on its queue: enqueued_at goes with a later migration.

-- Claims messages for the senders of a batch: of each sender what is most urgent, whichever messages the batch names, as
-- much as its pace and its hold allow. A function, since the sender's row must be locked before its messages are looked
-- at, and so that a connection plans it once.
--
-- Takes the messages that the batch names, the wake-ups in it (senders, and when each was due), an id for each attempt
-- that may be made, each sender's pace as the first pattern that it matches, and, when only some messages may be handed
-- over now, these. Returns rows of one kind each:
-- - claimed: nobody else can hand it over from here on; its attempt's row is there before the call is made;
-- - refused: its recipient has opted out, or its time has passed: it has failed for good;
-- - done: named by the batch, and handled before;
-- - wake: what is to be put back on the queue for a sender with more to do, wake_in seconds from now.
--
-- A repeated call, known by the ids of its attempts, returns what the first one claimed: its answer may have got lost.
create function sms_claim_sends(
    named uuid[], woken text[], woken_at timestamptz[], attempt_ids uuid[], allowed uuid[],
    patterns text[], rates float8[], burst float8, hold interval, max_age interval, horizon interval, now_at timestamptz)
returns table (kind text, message_id uuid, attempt_id uuid, attempt_number int, sender text, to_number text,
    from_number text, messaging_service_sid text, message_content text, media jsonb, segments int, request_id text,
    send_before timestamptz, wanted_at timestamptz, due_at timestamptz, is_probe bool,
    wake_at timestamptz, wake_in float8)
language plpgsql
-- A connection keeps the plans that it made when few messages waited, or before they were counted: with 100,000 they must
-- still read the index in its order and stop. What is ruled out is given a price, at which code would be compiled.
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set jit = off
as $$
#variable_conflict use_column
declare
    senders text[];
    share int;
    attempts_used int := 0;
    held sms_senders;
    candidate record;
    following record;
    of_priority text;
    rate float8;
    room int;
    is_idle bool;
    ready timestamptz;
    hold_end timestamptz;
    backlog float8;
    allowance float8;
    wake timestamptz;
begin
    return query
    select 'claimed', m.id, a.id, a.number, coalesce(m.from_number, m.messaging_service_sid, ''), m.to_number,
        m.from_number, m.messaging_service_sid, m.message_content, m.media, coalesce(m.segments, 1), m.request_id,
        m.send_before, coalesce(m.send_at, m.created_at), m.next_attempt_at, false, null::timestamptz, null::float8
    from sms_send_attempts a join sms_messages m on m.id = a.message_id
    where a.id = any(attempt_ids) and a.outcome is null and m.claimed_at = now_at and m.delivery_status = 'pending';
    if found then
        return;
    end if;

    for message_id in
        select m.id from sms_messages m
        where m.id = any(named)
          and (m.claimed_at is not null or m.delivery_status <> 'pending' or m.twilio_sid is not null)
    loop
        kind := 'done';
        return next;
    end loop;

    senders := array(
        select coalesce(m.from_number, m.messaging_service_sid, '') from sms_messages m
        where m.id = any(named) and m.direction = 'outbound'
        union select unnest(woken)
        order by 1);
    if cardinality(senders) = 0 then
        return;
    end if;
    insert into sms_senders (sender) select unnest(senders) order by 1 on conflict do nothing;
    share := greatest(1, cardinality(attempt_ids) / cardinality(senders));

    -- In one order everywhere, so that two batches don't wait for each other.
    for held in
        select s.* from sms_senders s where s.sender = any(senders) order by s.sender for no key update
    loop
        sender := held.sender;
        rate := (select t.rate from unnest(patterns, rates) with ordinality as t (pattern, rate, position)
                 where held.sender ~ t.pattern order by t.position limit 1);
        ready := greatest(held.ready_at, now_at);
        hold_end := held.held_until;
        is_probe := coalesce(hold_end <= now_at, false);
        room := least(case when hold_end > now_at then 0 when is_probe then 1 else share end,
                      cardinality(attempt_ids) - attempts_used);
        backlog := extract(epoch from ready - now_at) * rate;
        is_idle := true;

        <<priorities>>
        foreach of_priority in array array['urgent', 'normal', 'bulk'] loop
            -- A bulk leaves half of the burst to what is more urgent.
            allowance := case when of_priority = 'bulk' then burst / 2 else burst end;
            exit priorities when room = 0 or (backlog > 0 and backlog + 1 > allowance);
            -- Whoever has a row locked is changing it: it is left alone, the sender's lock must not wait for it.
            for candidate in
                select m.*, coalesce(m.send_at, m.created_at) as wanted, c.opted_out_at
                from (
                    select * from sms_messages m
                    where coalesce(m.from_number, m.messaging_service_sid, '') = held.sender
                      and m.priority = of_priority and m.delivery_status = 'pending' and m.claimed_at is null
                      and m.twilio_sid is null and m.next_attempt_at <= now_at
                      and (allowed is null or m.id = any(allowed))
                    order by m.next_attempt_at limit least(room, floor(allowance - backlog)::int + 1)
                    for no key update skip locked
                ) m join sms_conversations c on c.id = m.conversation_id
                order by m.next_attempt_at
            loop
                message_id := candidate.id;
                is_idle := false;
                if candidate.opted_out_at is not null
                    or coalesce(candidate.send_before, candidate.wanted + max_age) <= now_at then
                    update sms_messages m
                    set delivery_status = 'failed',
                        error_code = case when candidate.opted_out_at is not null
                                          then 'opted_out' else 'retries_exhausted' end
                    where m.id = candidate.id;
                    kind := 'refused';
                    attempt_id := null;
                    request_id := candidate.request_id;
                    return next;
                    continue;
                end if;
                segments := coalesce(candidate.segments, 1);
                -- What is longer than the whole burst goes when nothing is before it.
                exit priorities when backlog > 0 and backlog + segments > allowance;
                attempts_used := attempts_used + 1;
                kind := 'claimed';
                attempt_id := attempt_ids[attempts_used];
                update sms_messages m set claimed_at = now_at where m.id = candidate.id;
                insert into sms_send_attempts as a (id, message_id, number, started_at)
                select attempt_id, candidate.id, 1 + count(*), now_at
                from sms_send_attempts a where a.message_id = candidate.id
                returning a.number into attempt_number;
                to_number := candidate.to_number;
                from_number := candidate.from_number;
                messaging_service_sid := candidate.messaging_service_sid;
                message_content := candidate.message_content;
                media := candidate.media;
                request_id := candidate.request_id;
                send_before := candidate.send_before;
                wanted_at := candidate.wanted;
                due_at := candidate.next_attempt_at;
                return next;
                backlog := backlog + segments;
                ready := ready + make_interval(secs => segments / rate);
                room := room - 1;
                -- Until it is known what becomes of it; a repair takes longer than a pause.
                if is_probe then
                    hold_end := now_at + case when held.held_reason = 'configuration' then hold
                                              else least(hold, interval '30 seconds') end;
                end if;
                exit priorities when room = 0;
            end loop;
        end loop;

        -- What comes next, and when it can go.
        wake := held.wake_at;
        if (held.sender, held.wake_at) in (select t.sender, t.at from unnest(woken, woken_at) as t (sender, at))
            or wake <= now_at then
            wake := null;
        end if;
        select p.priority, greatest(m.next_attempt_at, now_at) as at, coalesce(m.segments, 1) as segments
        into following
        from (values (1, 'urgent'), (2, 'normal'), (3, 'bulk')) as p (rank, priority)
        cross join lateral (
            select m.next_attempt_at, m.segments from sms_messages m
            where coalesce(m.from_number, m.messaging_service_sid, '') = held.sender and m.priority = p.priority
              and m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
            order by m.next_attempt_at limit 1
        ) m
        order by 2, p.rank limit 1;
        if found then
            allowance := case when following.priority = 'bulk' then burst / 2 else burst end;
            wake_at := greatest(following.at, hold_end,
                now_at + make_interval(secs => least(backlog, greatest(0, backlog + following.segments - allowance)) / rate));
            -- What somebody else is changing is not asked for again at once.
            if wake_at = now_at and is_idle then
                wake_at := now_at + interval '1 second';
            end if;
            wake_in := extract(epoch from wake_at - now_at);
            -- A wake-up that is due at once counts as being on its way for a second.
            wake_at := greatest(wake_at, now_at + interval '1 second');
            if wake_at <= now_at + horizon and (wake is null or wake > wake_at) then
                wake := wake_at;
                kind := 'wake';
                message_id := null;
                attempt_id := null;
                return next;
            end if;
        end if;
        update sms_senders s set ready_at = ready, held_until = hold_end, wake_at = wake
        where s.sender = held.sender;
    end loop;
end $$;

-- The gate between a STOP and a call to Twilio: a STOP is recorded under a lock of its conversation that calls which are
-- about to begin share. Not the conversation's row: every message that comes in or is asked for would wait for Twilio.
-- The locks end with their transactions, so they suit a transaction pooler; whoever takes several takes them in the
-- order of their keys.
--
-- Waits for a STOP that is just being committed, and returns the messages whose recipients have not opted out. Nobody of
-- them can until the caller's transaction ends.
create function sms_pass_stop_gate(message_ids uuid[]) returns table (message_id uuid) language plpgsql as $$
#variable_conflict use_column
declare
    gate bigint;
begin
    for gate in
        select distinct uuid_hash_extended(m.conversation_id, 0) from sms_messages m where m.id = any(message_ids) order by 1
    loop
        perform pg_advisory_xact_lock_shared(gate);
    end loop;
    -- With a snapshot of its own, which sees what was waited for.
    return query
    select m.id from sms_messages m join sms_conversations c on c.id = m.conversation_id
    where m.id = any(message_ids) and c.opted_out_at is null;
end $$;

-- As before, behind the gate.
create or replace function sms_conversation_opt_out() returns trigger language plpgsql as $$
declare
    gate bigint;
begin
    for gate in
        select distinct uuid_hash_extended(conversation_id, 0) from inserted where action = 'opt_out' order by 1
    loop
        perform pg_advisory_xact_lock(gate);
    end loop;
    with latest as (
        select distinct on (conversation_id) conversation_id, action, created_at
        from sms_opt_out_events
        where conversation_id in (select conversation_id from inserted)
        order by conversation_id, created_at desc, id desc
    )
    update sms_conversations c
    set opted_out_at = case when latest.action = 'opt_out' then coalesce(c.opted_out_at, latest.created_at) end
    from latest where c.id = latest.conversation_id;
    return null;
end $$;
