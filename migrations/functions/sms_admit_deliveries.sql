-- Reads the next events of the log that a stream delivers, at most max_range positions, and gives them rows in sms_deliveries,
-- at most "room". Returns the positions of those that were claimed, at most "wanted", and the stream with its new position.
--
-- - found: the next matching events, some more than wanted, because some may have to wait;
-- - ranked: an event starts if it is the first of its conversation here, and no earlier one is in flight or holds it back;
-- - kept: up to the last one that starts. The others are read again by the next claim.
create or replace function sms_admit_deliveries(
    inout stream sms_delivery_streams, s sms_subscriptions, wanted integer, room integer, lease timestamptz, max_range bigint,
    at timestamptz, out claimed bigint[])
language plpgsql
-- A connection keeps plans that it made for small tables. For a large log, Postgres would make a new plan for each
-- call, because it expects many more rows in the range than there are. The limit needs the order of the index, not a bitmap.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    max_found integer := least(room, 2 * wanted + 20);
    first bigint;
    until bigint;
    read record;
begin
    -- Dropped months leave no gap to search.
    select e.position into first from sms_events e where e.position > stream.position order by e.position limit 1;
    until := least(stream.target, coalesce(first + max_range - 1, stream.target));
    with found as (
        select e.position, e.id, e.conversation_id, coalesce(e.conversation_id, e.id) as lane
        from sms_events e
        where e.position >= first and e.position <= until and (cardinality(stream.types) = 0 or e.event_type = any(stream.types))
          and sms_event_matches(
              s, e.event_type, e.workflow_type, e.tenant_id, e.conversation_id is not null, e.subscription_id)
        order by e.position limit max_found
    ), ranked as (
        select f.*, row_number() over (partition by f.lane order by f.position) = 1 and not exists (
            select from sms_deliveries d
            where d.subscription_id = stream.subscription_id and d.kind = stream.kind and d.conversation_id = f.conversation_id
              and (d.leased_until > at or d.holds_until is null or d.holds_until > at)) as starts
        from found f
    ), counted as (
        select r.*, count(*) filter (where r.starts) over (order by r.position) - r.starts::integer as started_before
        from ranked r
    ), kept as (
        insert into sms_deliveries (subscription_id, kind, position, event_id, conversation_id, next_attempt_at, leased_until)
        select stream.subscription_id, stream.kind, c.position, c.id, c.conversation_id, at, case when c.starts then lease end
        from counted c where c.started_before < wanted order by c.position
        returning position, leased_until
    )
    select (select count(*) from found) as found, count(*) as kept, max(k.position) as last,
        coalesce(array_agg(k.position) filter (where k.leased_until is not null), '{}') as claimed
    into read from kept k;
    claimed := read.claimed;
    -- All were read, or the search ends at the last one that has a row.
    stream.position := case when read.found < max_found and read.kept = read.found then until else read.last end;
end $$;
