-- Applies the results of attempts to the undelivered events of a stream and to the list of attempts, and returns a summary:
-- whether any was delivered, failed, unavailable, gone or slow; the longest Retry-After; and the first failed attempt.
--
-- - result: the results that count. Without its lease, only "delivered" does: another worker may have delivered it too.
-- - removed: events that were delivered or are given up. changed: events that are attempted again, and hold back later ones of
--   their conversation since the first failure. "released" is not an attempt.
-- - logged: failures, and the success after one. Receivers of contents might return them, so their responses are not stored.
create or replace function sms_settle_deliveries(
    stream sms_delivery_streams, s sms_subscriptions, results jsonb, limits sms_delivery_limits, at timestamptz,
    out delivered bool, out failed bool, out unavailable bool, out gone bool, out slow bool, out retry_after double precision,
    out failed_at timestamptz)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
    with result as (
        select r.*, d.attempts, d.event_id, r.outcome in ('failed', 'unavailable', 'gone') as is_failure
        from jsonb_populate_recordset(null::sms_delivery_result, results) r
        join sms_deliveries d on d.subscription_id = stream.subscription_id and d.kind = stream.kind and d.position = r.position
        where r.outcome = 'delivered' or d.leased_until = r.leased_until
    ), removed as (
        delete from sms_deliveries d using result r
        where d.subscription_id = stream.subscription_id and d.kind = stream.kind and d.position = r.position
          and (r.outcome = 'delivered' or (r.is_failure and r.next_attempt_at is null))
    ), changed as (
        update sms_deliveries d set leased_until = null,
            attempts = d.attempts + r.is_failure::integer,
            next_attempt_at = coalesce(r.next_attempt_at, at),
            holds_until = case when r.is_failure
                then coalesce(d.holds_until, at + make_interval(secs => s.max_hold_seconds)) else d.holds_until end
        from result r
        where d.subscription_id = stream.subscription_id and d.kind = stream.kind and d.position = r.position
          and (r.outcome = 'released' or (r.is_failure and r.next_attempt_at is not null))
    ), logged as (
        insert into sms_delivery_attempts (id, subscription_id, event_id, attempt, attempted_at, duration_ms, status_code,
            error, response_body, next_attempt_at)
        select sms_new_id(), stream.subscription_id, r.event_id, r.attempts + 1, r.attempted_at, r.duration_ms, r.status_code,
            r.error, case when not s.content then r.response_body end, case when r.is_failure then r.next_attempt_at end
        from result r where r.is_failure or (r.outcome = 'delivered' and r.attempts > 0)
    )
    select coalesce(bool_or(r.outcome = 'delivered'), false), coalesce(bool_or(r.is_failure), false),
        coalesce(bool_or(r.outcome = 'unavailable'), false), coalesce(bool_or(r.outcome = 'gone'), false),
        coalesce(bool_or(r.outcome = 'released' or r.duration_ms > limits.slow_ms), false),
        max(r.retry_after_seconds), min(r.attempted_at) filter (where r.is_failure)
    into delivered, failed, unavailable, gone, slow, retry_after, failed_at
    from result r;
end $$;
