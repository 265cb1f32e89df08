-- What is more urgent goes first, also when what is looked at of it must not be sent any more.
--
-- A claim looks at as many messages of a priority as it has room for. If some of these were refused, since their recipients
-- had opted out or their time was over, it went on with the next priority, and more urgent ones stayed behind; after a
-- hold, where there is room for one, a bulk's message could be tried before an answer. The rest is as 0011 has it.
create or replace function sms_claim_sends(
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
    taken uuid[];
    held sms_senders;
    candidate record;
    following record;
    of_priority text;
    rate float8;
    at_once float8;
    room int;
    is_idle bool;
    is_refused bool;
    was_held bool;
    ready timestamptz;
    hold_end timestamptz;
    backlog float8;
    allowance float8;
    wake timestamptz;
begin
    -- They are used in their order: a call that claimed anything has used the first.
    if exists (select from sms_send_attempts a where a.id = attempt_ids[1]) then
        return query
        select 'claimed', m.id, a.id, a.number, coalesce(m.from_number, m.messaging_service_sid, ''), m.to_number,
            m.from_number, m.messaging_service_sid, m.message_content, m.media, coalesce(m.segments, 1), m.request_id,
            m.send_before, coalesce(m.send_at, m.created_at), m.next_attempt_at, false, null::timestamptz, null::float8
        from sms_send_attempts a join sms_messages m on m.id = a.message_id
        where a.id = any(attempt_ids) and a.outcome is null and m.claimed_at = now_at
          and m.delivery_status = 'pending';
        if found then
            return;
        end if;
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
        at_once := greatest(burst, 3 * rate);
        ready := greatest(held.ready_at, now_at);
        hold_end := held.held_until;
        was_held := coalesce(hold_end <= now_at, false);
        room := least(case when hold_end > now_at then 0 when was_held then 1 else share end,
                      cardinality(attempt_ids) - attempts_used);
        backlog := extract(epoch from ready - now_at) * rate;
        is_idle := true;
        taken := '{}';

        <<priorities>>
        foreach of_priority in array array['urgent', 'normal', 'bulk'] loop
            -- A bulk leaves half of the burst to what is more urgent.
            allowance := case when of_priority = 'bulk' then at_once / 2 else at_once end;
            exit priorities when room = 0 or (backlog > 0 and backlog + 1 > allowance);
            is_refused := false;
            -- Whoever has a row locked is changing it: it is left alone, the sender's lock must not wait for it.
            for candidate in
                select m.id, coalesce(m.segments, 1) as segments, m.request_id, c.opted_out_at is not null as opted_out,
                    coalesce(m.send_before, coalesce(m.send_at, m.created_at) + max_age) <= now_at as is_over
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
                is_idle := false;
                is_refused := is_refused or candidate.opted_out or candidate.is_over;
                if candidate.opted_out or candidate.is_over then
                    update sms_messages m
                    set delivery_status = 'failed',
                        error_code = case when candidate.opted_out then 'opted_out' else 'retries_exhausted' end
                    where m.id = candidate.id;
                    kind := 'refused';
                    message_id := candidate.id;
                    attempt_id := null;
                    request_id := candidate.request_id;
                    return next;
                    continue;
                end if;
                -- What is longer than the whole burst goes when nothing is before it.
                exit priorities when backlog > 0 and backlog + candidate.segments > allowance;
                taken := taken || candidate.id;
                backlog := backlog + candidate.segments;
                ready := ready + make_interval(secs => candidate.segments / rate);
                room := room - 1;
                -- Until it is known what becomes of it; a repair takes longer than a pause.
                if was_held then
                    hold_end := now_at + case when held.held_reason = 'configuration' then hold
                                              else least(hold, interval '30 seconds') end;
                end if;
                exit priorities when room = 0;
            end loop;
            -- They were looked at in place of others as urgent, which are claimed at the wake-up that follows at once.
            exit priorities when is_refused;
        end loop;

        if taken <> '{}' then
            update sms_messages m set claimed_at = now_at where m.id = any(taken);
            insert into sms_send_attempts (id, message_id, number, started_at)
            select attempt_ids[attempts_used + t.position], t.id,
                1 + (select count(*) from sms_send_attempts a where a.message_id = t.id), now_at
            from unnest(taken) with ordinality as t (id, position);
            return query
            select 'claimed', m.id, a.id, a.number, held.sender, m.to_number, m.from_number, m.messaging_service_sid,
                m.message_content, m.media, coalesce(m.segments, 1), m.request_id, m.send_before,
                coalesce(m.send_at, m.created_at), m.next_attempt_at, was_held, null::timestamptz, null::float8
            from unnest(taken) with ordinality as t (id, position)
            join sms_messages m on m.id = t.id
            join sms_send_attempts a on a.id = attempt_ids[attempts_used + t.position];
            attempts_used := attempts_used + cardinality(taken);
        end if;

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
            allowance := case when following.priority = 'bulk' then at_once / 2 else at_once end;
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
