-- What a send costs: its statements are planned once by each connection, and what several sends have in common is done once
-- (common/docs/decisions/0010-what-a-send-costs.md). From here on no statement of the functions names enqueued_at; the
-- column goes, from sms_record_statuses as well, once none that is deployed does.

-- Stores a message to be sent, once for an Idempotency-Key. Returns whether the recipient has opted out, or else the
-- message's conversation; neither, if the key was used before. In this order:
-- - whether the recipient has opted out, as far as is committed: the claim before the call asks again;
-- - the key: remembered, or, while another request is just using it, waited for, and then left alone; one that is
--   older than its time is taken over;
-- - the conversation, if there is none;
-- - the message. Its trigger changes the conversation's row; nothing here needs to lock it before.
create function sms_create_send(
    new_id uuid, new_conversation uuid, account text, recipient text, recipient_original text, sender_number text,
    service_sid text, content text, media_list jsonb, text_encoding text, segment_count int, urgency text,
    for_workflow_type text, for_workflow_id text, kept_metadata jsonb, not_before timestamptz, not_after timestamptz,
    by_key uuid, by_request text, now_at timestamptz, once_key text, once_hash bytea, forgotten_before timestamptz)
returns table (opted_out bool, conversation_id uuid)
language plpgsql
-- A connection keeps the plans that it made when there were few conversations.
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    conversation uuid;
begin
    select c.id, c.opted_out_at is not null into conversation, opted_out
    from sms_conversations c where c.account_sid = account and c.phone_number_canonical = recipient;
    opted_out := coalesce(opted_out, false);
    if opted_out then
        return next;
        return;
    end if;

    if once_key is not null then
        insert into idempotency_keys as k (api_key_id, idempotency_key, payload_hash, resource_id, created_at)
        values (by_key, once_key, once_hash, new_id, now_at)
        on conflict (api_key_id, idempotency_key) do update
            set payload_hash = excluded.payload_hash, resource_id = excluded.resource_id,
                created_at = excluded.created_at
            where k.created_at < forgotten_before;
        if not found then
            return next;
            return;
        end if;
    end if;

    if conversation is null then
        insert into sms_conversations as c (id, account_sid, phone_number_canonical, phone_number_original, created_at)
        values (new_conversation, account, recipient, recipient_original, now_at)
        on conflict (account_sid, phone_number_canonical)
            do update set phone_number_canonical = excluded.phone_number_canonical
        returning c.id into conversation;
    end if;

    insert into sms_messages (id, conversation_id, direction, from_number, to_number, messaging_service_sid,
        message_content, media, delivery_status, encoding, segments, priority, workflow_type, workflow_id,
        metadata, api_key_id, request_id, send_at, send_before, next_attempt_at, created_at)
    values (new_id, conversation, 'outbound', sender_number, recipient, service_sid, content, media_list, 'pending',
        text_encoding, segment_count, urgency, for_workflow_type, for_workflow_id, kept_metadata, by_key, by_request,
        not_before, not_after, greatest(not_before, now_at), now_at);
    conversation_id := conversation;
    return next;
end $$;

-- Claims messages for the senders of a batch, by the rules that 0007 explains; what it claims of one sender is written, and
-- read, by one statement each.
--
-- A wake-up comes by whole seconds, so a sender must be able to hand over at once what it can send until the next one:
-- three seconds' worth of it, of which a bulk may use half, where that is more than the burst of slower senders. A bulk of
-- a short code went at 15 segments a second, where a hundred are allowed.
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

-- Records how attempts ended, and returns the SIDs of which callbacks came before anybody knew them.
--
-- The messages are locked first, in the order of their ids, before their attempts, as everywhere. Then:
-- - attempt: its end, unless it is known already. An SID is kept in any case: even a create that was taken for absent;
-- - finished: the claim ends, if no later attempt holds it by now. The rest only follows from an outcome that was
--   open: a status callback may have come before the answer, and what it said of the message stays. `replaces` are the
--   statuses that a message may leave for its new one;
-- - last, what some codes say of the conversation: the carrier blocks messages to this number, or a STOP.
create function sms_finish_sends(
    message_ids uuid[], attempt_ids uuid[], outcomes text[], statuses text[], sids text[], codes text[], details text[],
    nexts timestamptz[], replaces text[], ended_at timestamptz)
returns table (twilio_sid text)
language plpgsql
-- Plans for a handful of rows in tables of any size.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    telling uuid[];
begin
    perform from sms_messages m where m.id = any(message_ids) order by m.id for no key update;

    with input as (
        select * from unnest(message_ids, attempt_ids, outcomes, statuses, sids, codes, details, nexts, replaces)
            as t (message_id, attempt_id, outcome, status, sid, code, detail, next_attempt_at, replaces)
    ), attempt as (
        update sms_send_attempts a
        set outcome = i.outcome, twilio_sid = coalesce(i.sid, a.twilio_sid), error_code = i.code, detail = i.detail,
            finished_at = ended_at
        from input i
        where a.id = i.attempt_id
          and (a.outcome is null or a.outcome = 'unknown' or (i.sid is not null and a.twilio_sid is null))
        returning a.id
    ), ended as (
        select i.*, string_to_array(i.replaces, ',') as replaced, t.id is not null as was_open
        from input i left join attempt t on t.id = i.attempt_id
    ), finished as (
        update sms_messages m
        set claimed_at = null,
            twilio_sid = case when e.was_open then coalesce(m.twilio_sid, e.sid) else m.twilio_sid end,
            delivery_status = case when e.was_open and m.delivery_status = any(e.replaced)
                                   then e.status else m.delivery_status end,
            error_code = case when e.was_open and (m.delivery_status = any(e.replaced) or m.delivery_status = 'pending')
                              then e.code else m.error_code end,
            next_attempt_at = case when e.was_open then coalesce(e.next_attempt_at, m.next_attempt_at)
                                   else m.next_attempt_at end
        from ended e
        where m.id = e.message_id
          and not exists (
              select from sms_send_attempts later
              where later.message_id = e.message_id
                and later.number > (select this.number from sms_send_attempts this where this.id = e.attempt_id))
        returning e.attempt_id, e.code
    )
    select array_agg(f.attempt_id) into telling from finished f where f.code in ('30004', '21610');

    if telling is not null then
        perform from sms_conversations c
        where c.id in (select m.conversation_id from sms_send_attempts a join sms_messages m on m.id = a.message_id
                       where a.id = any(telling))
        order by c.id for no key update;
        update sms_conversations c set carrier_blocked_at = ended_at
        from unnest(attempt_ids, message_ids, codes) as i (attempt_id, message_id, code)
        join sms_messages m on m.id = i.message_id
        where i.attempt_id = any(telling) and i.code = '30004' and c.id = m.conversation_id
          and c.carrier_blocked_at is null;
        insert into sms_opt_out_events
            (id, conversation_id, action, source, words, our_number, evidence, created_at)
        select gen_random_uuid(), m.conversation_id, 'opt_out', 'twilio_error', '21610', m.from_number,
            i.attempt_id::text, ended_at
        from unnest(attempt_ids, message_ids, codes) as i (attempt_id, message_id, code)
        join sms_messages m on m.id = i.message_id
        where i.attempt_id = any(telling) and i.code = '21610'
        on conflict do nothing;
    end if;

    return query
    select distinct e.twilio_sid from sms_message_status_events e
    where e.twilio_sid = any(sids) and e.message_id is null;
end $$;
