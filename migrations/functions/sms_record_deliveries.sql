-- Records the results of attempts (sms_settle_deliveries) and what they say about the receiver, and returns the changed stream:
-- - a failure of the receiver as a whole pauses the stream, twice as long each time, at least for its Retry-After. Failures of
--   attempts that were under way when it was paused do not count again.
-- - an attempt that took long makes the stream slow;
-- - the subscription fails since the first failure after the last success;
-- - 410 disables it.
create or replace function sms_record_deliveries(
    inout stream sms_delivery_streams, results jsonb, limits sms_delivery_limits, disabled_event text, at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
    s sms_subscriptions;
    done record;
    pause double precision;
begin
    select x.* into s from sms_subscriptions x where x.id = stream.subscription_id;
    done := sms_settle_deliveries(stream, s, results, limits, at);
    if done.delivered then
        stream.failures := 0;
    end if;
    if done.unavailable then
        pause := 0;
        if stream.paused_until <= at or stream.failures = 0 then
            -- With jitter, so that receivers that failed together are not attempted together.
            pause := least(limits.pause_seconds * 2 ^ least(stream.failures, 20), limits.max_pause_seconds)
                * (0.8 + 0.2 * random());
            stream.failures := stream.failures + 1;
        end if;
        stream.paused_until := greatest(
            stream.paused_until, at + make_interval(secs => greatest(pause, coalesce(done.retry_after, 0))));
    end if;
    if done.slow then
        stream.slow_until := at + make_interval(secs => limits.slow_seconds);
    end if;
    if done.delivered and (s.failing_since is not null or s.warned_percent <> 0) then
        update sms_subscriptions x set failing_since = null, warned_percent = 0 where x.id = s.id;
    elsif done.failed and not done.delivered and s.failing_since is null then
        update sms_subscriptions x set failing_since = done.failed_at where x.id = s.id;
    end if;
    if done.gone then
        perform sms_disable_subscription(s.id, 'gone', disabled_event, at);
    end if;
end $$;
