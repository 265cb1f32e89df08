-- Prevents a second create of a message: the gate before a call to Twilio checks every condition for sending again, and a
-- message that Twilio accepted under the SID of another message is parked.
--
-- Both functions have new names because functions of the previous version still run while this is applied. A later
-- migration drops sms_pass_stop_gate and sms_finish_sends.

-- The gate before a call to Twilio. Returns a verdict for each attempt:
-- - go: the call may be made;
-- - settled: the attempt no longer holds its message, or the message must not be created again: its status is not pending,
--   or an attempt has a SID that counts as accepted (no failure was reported for it) or delivered;
-- - opted_out: the recipient has opted out;
-- - too_late: its send_before has passed.
-- It waits for a STOP that is being committed. No recipient of a returned message can opt out until the caller's
-- transaction ends: recording a STOP takes the same advisory lock exclusively (sms_conversation_opt_out in 0007). Locks
-- are taken in the order of their keys.
create function sms_pass_send_gate(attempt_ids uuid[], at timestamptz) returns table (attempt_id uuid, verdict text)
language plpgsql as $$
#variable_conflict use_column
declare
    gate bigint;
begin
    for gate in
        select distinct uuid_hash_extended(m.conversation_id, 0)
        from sms_send_attempts a join sms_messages m on m.id = a.message_id
        where a.id = any(attempt_ids) order by 1
    loop
        perform pg_advisory_xact_lock_shared(gate);
    end loop;
    -- A new statement, whose snapshot includes what was committed while the locks were waited for.
    return query
    select a.id,
        case
            when a.outcome is not null or m.claimed_at is distinct from a.started_at or m.delivery_status <> 'pending'
                or m.twilio_sid is not null or m.parked_at is not null then 'settled'
            when exists (
                select from sms_send_attempts o
                where o.message_id = m.id and o.twilio_sid is not null
                  and (not exists (select from sms_message_status_events e
                                   where e.twilio_sid = o.twilio_sid and e.event_status in ('failed', 'undelivered'))
                       or exists (select from sms_message_status_events e
                                  where e.twilio_sid = o.twilio_sid and e.event_status in ('delivered', 'read')))
            ) then 'settled'
            when c.opted_out_at is not null then 'opted_out'
            when m.send_before <= at then 'too_late'
            else 'go'
        end
    from sms_send_attempts a
    join sms_messages m on m.id = a.message_id
    join sms_conversations c on c.id = m.conversation_id
    where a.id = any(attempt_ids);
end $$;

-- Records how attempts ended. Returns rows of two kinds: early, the SIDs whose callbacks were stored before the SID was
-- known; parked, the messages that were left to an operator.
--
-- The messages are locked first, in the order of their ids, before their attempts, as in every function. Then:
-- - input: a SID that another message or attempt has, or another row of this batch, is not stored. Its message may be on the
--   handset, and no list of Twilio's will ever show it as unowned: it must not be resolved, and is parked at once;
-- - attempt: its end, unless that is known. A SID is kept in any case, also by an attempt that was considered absent;
-- - finished: the claim ends unless a later attempt holds it. The message only changes if the outcome was open: a status
--   callback may have come before the answer. `replaces` are the statuses that a message may leave for its new one;
-- - announced: the event of a parked message;
-- - last, what some codes say about the conversation: the carrier blocks messages to this number, or a STOP.
create function sms_finish_sends_2(
    message_ids uuid[], attempt_ids uuid[], outcomes text[], statuses text[], sids text[], codes text[], details text[],
    nexts timestamptz[], replaces text[], parks bool[], ended_at timestamptz)
returns table (kind text, twilio_sid text, message_id uuid)
language plpgsql
-- Plans for a handful of rows in tables of any size.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    telling uuid[];
    parked uuid[];
begin
    perform from sms_messages m where m.id = any(message_ids) order by m.id for no key update;

    with given as (
        select t.*,
            t.sid is not null and (
                row_number() over (partition by t.sid order by t.position) > 1
                or exists (select from sms_messages o where o.twilio_sid = t.sid and o.id <> t.message_id)
                or exists (select from sms_send_attempts o where o.twilio_sid = t.sid and o.id <> t.attempt_id)
            ) as is_taken
        from unnest(message_ids, attempt_ids, outcomes, statuses, sids, codes, details, nexts, replaces, parks)
            with ordinality
            as t (message_id, attempt_id, outcome, status, sid, code, detail, next_attempt_at, replaces, parks, position)
    ), input as (
        select g.message_id, g.attempt_id, g.code, g.next_attempt_at, g.parks or g.is_taken as parks,
            case when g.is_taken then 'unknown' else g.outcome end as outcome,
            case when g.parks or g.is_taken then 'unknown' else g.status end as status,
            case when not g.is_taken then g.sid end as sid,
            case when g.is_taken then format('Twilio accepted it as %s, which belongs to another message or attempt', g.sid)
                 else g.detail end as detail,
            case when g.parks or g.is_taken then array['pending', 'unknown']
                 else string_to_array(g.replaces, ',') end as replaced
        from given g
    ), attempt as (
        update sms_send_attempts a
        set outcome = i.outcome, twilio_sid = coalesce(i.sid, a.twilio_sid), error_code = i.code, detail = i.detail,
            finished_at = ended_at
        from input i
        where a.id = i.attempt_id
          and (a.outcome is null or a.outcome = 'unknown' or (i.sid is not null and a.twilio_sid is null))
        returning a.id
    ), ended as (
        select i.*, t.id is not null as was_open, m.parked_at is not null as was_parked
        from input i join sms_messages m on m.id = i.message_id left join attempt t on t.id = i.attempt_id
    ), finished as (
        update sms_messages m
        set claimed_at = null,
            twilio_sid = case when e.was_open then coalesce(m.twilio_sid, e.sid) else m.twilio_sid end,
            delivery_status = case when e.was_open and m.delivery_status = any(e.replaced)
                                   then e.status else m.delivery_status end,
            error_code = case when e.was_open and (m.delivery_status = any(e.replaced) or m.delivery_status = 'pending')
                              then e.code else m.error_code end,
            next_attempt_at = case when e.was_open then coalesce(e.next_attempt_at, m.next_attempt_at)
                                   else m.next_attempt_at end,
            parked_at = case when e.was_open and e.parks and m.delivery_status = any(e.replaced)
                             then coalesce(m.parked_at, ended_at) else m.parked_at end
        from ended e
        where m.id = e.message_id
          and not exists (
              select from sms_send_attempts later
              where later.message_id = e.message_id
                and later.number > (select this.number from sms_send_attempts this where this.id = e.attempt_id))
        returning m.id, m.conversation_id, e.attempt_id, e.code, e.was_parked,
            e.parks and m.parked_at is not null as is_parked
    ), announced as (
        insert into sms_events (id, event_type, conversation_id, message_id, data, created_at)
        select gen_random_uuid(), 'message.status', f.conversation_id, f.id,
            jsonb_build_object('status', 'unknown', 'parked', true), ended_at
        from finished f where f.is_parked and not f.was_parked
    )
    select array_agg(f.attempt_id) filter (where f.code in ('30004', '21610')),
        array_agg(f.id) filter (where f.is_parked)
    into telling, parked from finished f;

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
    select distinct 'early', e.twilio_sid, null::uuid from sms_message_status_events e
    where e.twilio_sid = any(sids) and e.message_id is null
    union all
    select 'parked', null, p.id from unnest(parked) as p (id);
end $$;
