-- Claims undelivered events of a stream for a worker that wants at most "wanted", and returns their positions and the changed
-- stream. slots: how many could still be in flight.
--
-- Events that are due come first, the earliest of each lane (sms_delivery_due), then new events of the log
-- (sms_admit_deliveries). While the receiver as a whole fails, one attempt at a time finds out whether it works again. The
-- rate of a replay is a pause after each claim.
create or replace function sms_claim_deliveries(
    inout stream sms_delivery_streams, s sms_subscriptions, wanted integer, limits sms_delivery_limits, at timestamptz,
    out claimed bigint[], out slots integer)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    lease timestamptz := at + make_interval(secs => limits.lease_seconds);
    undelivered record;
    admitted record;
begin
    claimed := '{}';
    select count(*)::integer as rows, count(*) filter (where d.leased_until > at)::integer as in_flight into undelivered
    from sms_deliveries d where d.subscription_id = stream.subscription_id and d.kind = stream.kind;
    slots := case when stream.failures > 0 then 1 else s.max_in_flight end - undelivered.in_flight;
    if slots > 0 and wanted > 0 and undelivered.rows > undelivered.in_flight then
        with due as (
            select d.position, row_number() over (partition by d.lane order by d.position) as rank
            from sms_delivery_due(stream.subscription_id, stream.kind, at) d where d.due_at <= at
        ), taken as (
            update sms_deliveries d set leased_until = lease
            where d.subscription_id = stream.subscription_id and d.kind = stream.kind and d.position = any(array(
                select due.position from due where due.rank = 1 order by due.position limit least(slots, wanted)))
            returning d.position
        )
        select coalesce(array_agg(t.position), '{}') into claimed from taken t;
    end if;
    slots := slots - cardinality(claimed);
    wanted := wanted - cardinality(claimed);
    if slots > 0 and wanted > 0 and stream.position < stream.target and undelivered.rows < limits.max_rows then
        admitted := sms_admit_deliveries(
            stream, s, least(slots, wanted), limits.max_rows - undelivered.rows, lease, limits.max_range, at);
        stream := admitted.stream;
        claimed := claimed || admitted.claimed;
        slots := slots - cardinality(admitted.claimed);
    end if;
    if stream.kind = 'replay' then
        stream.paused_until := greatest(
            stream.paused_until, at + make_interval(secs => cardinality(claimed) / limits.replay_per_second));
    end if;
end $$;
