-- Records how attempts ended. Returns rows of two kinds: early, the SIDs whose callbacks were stored before the SID was
-- known; parked, the messages that were left to an operator. Messages are locked first, in the order of their ids.
--
-- - input: the outcomes, except that a SID which belongs to another message or attempt parks its message;
-- - attempt: its end, unless that is known. A SID is kept in any case, also by an attempt that was considered absent;
-- - finished: the claim ends unless a later attempt holds it. The message changes only if the outcome was open: a status
--   callback may have come before the response. "replaces" are the statuses that a message may leave for its new one.
-- Events are written last (sms_emit_status_events).
create or replace function sms_finish_sends(
    message_ids uuid[], attempt_ids uuid[], outcomes text[], statuses text[], sids text[], codes text[], details text[],
    nexts timestamptz[], replaces text[], parks bool[], effects text[], ended_at timestamptz,
    status_event text, failed_event text, opted_out_event text, opted_out_data text)
returns table (kind text, twilio_sid text, message_id uuid)
language plpgsql
-- Plans for a handful of rows in tables of any size.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    finished_attempts uuid[];
    parked uuid[];
    before sms_message_state[] := sms_message_states(message_ids);
    opted record;
begin
    with input as (
        select * from sms_park_taken_sids(
            message_ids, attempt_ids, outcomes, statuses, sids, codes, details, nexts, replaces, parks)
    ), attempt as (
        update sms_send_attempts a
        set outcome = i.outcome, twilio_sid = coalesce(i.sid, a.twilio_sid), error_code = i.code, detail = i.detail,
            finished_at = ended_at
        from input i
        where a.id = i.attempt_id
          and (a.outcome is null or a.outcome = 'unknown' or (i.sid is not null and a.twilio_sid is null))
        returning a.id
    ), ended as (
        select i.*, t.id is not null as was_open, m.delivery_status = any(i.replaced) as moves
        from input i join sms_messages m on m.id = i.message_id left join attempt t on t.id = i.attempt_id
    ), finished as (
        update sms_messages m
        set claimed_at = null,
            twilio_sid = case when e.was_open then coalesce(m.twilio_sid, e.sid) else m.twilio_sid end,
            delivery_status = case when e.was_open and e.moves then e.status else m.delivery_status end,
            error_code = case when e.was_open and (e.moves or m.delivery_status = 'pending') then e.code else m.error_code end,
            next_attempt_at = coalesce(case when e.was_open then e.next_attempt_at end, m.next_attempt_at),
            parked_at = coalesce(m.parked_at, case when e.was_open and e.parked and e.moves then ended_at end)
        from ended e
        where m.id = e.message_id and not exists (
            select from sms_send_attempts later where later.message_id = e.message_id
              and later.number > (select this.number from sms_send_attempts this where this.id = e.attempt_id))
        returning m.id, e.attempt_id, e.parked and m.parked_at is not null as is_parked
    )
    select array_agg(f.attempt_id), array_agg(f.id) filter (where f.is_parked) into finished_attempts, parked from finished f;

    select e.* into opted from (
          select array_agg(t.id) as ids, array_agg(t.attempt_id::text) as evidence, array_agg(t.code) as codes,
              array_agg(t.effect) as effects, array_agg(ended_at) as ats
          from unnest(message_ids, attempt_ids, codes, effects) as t (id, attempt_id, code, effect)
          where t.attempt_id = any(finished_attempts) and t.effect is not null having count(*) > 0) c,
        sms_apply_error_codes(c.ids, c.evidence, c.codes, c.effects, c.ats) e;
    perform sms_emit_status_events(before, status_event, failed_event, ended_at, opted_out_event, opted_out_data,
        opted.opted_conversations, opted.opted_messages);

    return query
    select distinct 'early', t.sid, null::uuid from unnest(sids) as t (sid)
    join sms_callbacks c on c.packed_sid = sms_pack_sid(t.sid) and c.message_id is null
    union all select 'parked', null, p.id from unnest(parked) as p (id);
end $$;
