-- Compares the events after the last comparison, at most max_range positions, with the active subscriptions. Moves the live
-- streams of those that match, and returns the streams that need a hint, or one row without a stream. Others are not touched.
-- has_more: call again.
--
-- - fresh: the events, grouped by what filters compare, so that many events of one kind cost one comparison per subscription;
-- - was: the streams that match, after they are locked, so that what a worker has just finished is seen;
-- - moved: a stream without work begins before the first match. Its target is the last match.
-- A stream needs a hint if it can be claimed and none was sent, or no worker was seen, since hint_before. The lock of the
-- counter allows one comparison at a time. sms_resume_subscription waits for it, so that no event is missed in between.
create or replace function sms_match_events(max_range bigint, hint_before timestamptz, at timestamptz)
returns table (subscription_id uuid, kind text, is_slow bool, has_more bool)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    compared bigint;
    until bigint;
    log_end bigint;
    ids uuid[];
    firsts bigint[];
    lasts bigint[];
begin
    select c.position into compared from sms_match_counter c for update;
    select c.last_position, least(c.last_position, compared + max_range) into log_end, until from sms_event_counter c;
    if until <= compared then
        return;
    end if;
    with fresh as (
        select e.event_type, e.workflow_type, e.tenant_id, e.conversation_id is not null as has_conversation,
            e.subscription_id as about, min(e.position) as first, max(e.position) as last
        from sms_events e where e.position > compared and e.position <= until
        group by 1, 2, 3, 4, 5
    ), matched as (
        select s.id, min(f.first) as first, max(f.last) as last
        from sms_subscriptions s
        join fresh f on sms_event_matches(s, f.event_type, f.workflow_type, f.tenant_id, f.has_conversation, f.about)
        where s.status = 'active'
        group by s.id
    )
    select array_agg(m.id), array_agg(m.first), array_agg(m.last) into ids, firsts, lasts from matched m;
    update sms_match_counter c set position = until;
    perform from sms_delivery_streams d where d.subscription_id = any(ids) and d.kind = 'live'
    order by d.subscription_id for update;
    return query
    with was as (
        select d.subscription_id, m.first, m.last, d.slow_until > at as is_slow, d.paused_until <= at and not d.is_full
            and (d.hinted_at is null or d.hinted_at < hint_before) as needs_hint
        from unnest(ids, firsts, lasts) as m (id, first, last)
        join sms_delivery_streams d on d.subscription_id = m.id and d.kind = 'live'
    ), moved as (
        update sms_delivery_streams d set target = greatest(d.target, w.last),
            position = case when d.position < d.target then d.position else greatest(d.position, w.first - 1) end,
            hinted_at = case when w.needs_hint then at else d.hinted_at end
        from was w where d.subscription_id = w.subscription_id and d.kind = 'live'
        returning d.subscription_id, d.kind, w.is_slow, w.needs_hint
    )
    select m.subscription_id, m.kind, m.is_slow, until < log_end
    from (select) as always left join moved m on m.needs_hint;
end $$;
