-- Warns about active subscriptions that have failed for 50 and 90 percent of "limits", the time after which they are disabled,
-- once each, and disables those that have failed for all of it. Writes an event for each, and returns them with the percentage.
create or replace function sms_judge_subscriptions(
    disable_after double precision, warning_event text, disabled_event text, at timestamptz)
returns table (subscription_id uuid, percent integer)
language plpgsql as $$
#variable_conflict use_column
declare
    failing record;
begin
    for failing in
        select s.id, s.failing_since, s.warned_percent, s.failing_since + make_interval(secs => disable_after) as disabled_at,
            100 * extract(epoch from at - s.failing_since) / disable_after as age
        from sms_subscriptions s
        where s.status = 'active' and s.failing_since <= at - make_interval(secs => disable_after / 2)
        order by s.id for update
    loop
        subscription_id := failing.id;
        percent := case when failing.age >= 100 then 100 when failing.age >= 90 then 90 else 50 end;
        continue when percent <= failing.warned_percent;
        if percent = 100 then
            perform sms_disable_subscription(failing.id, 'failing', disabled_event, at);
        else
            update sms_subscriptions s set warned_percent = percent where s.id = failing.id;
            perform sms_emit_subscription_events(array[warning_event], array[failing.id], array(
                select row_to_json(d)::text
                from (select failing.id as subscription_id, percent, sms_event_time(failing.failing_since) as failing_since,
                    sms_event_time(failing.disabled_at) as disabled_at) d), at);
        end if;
        return next;
    end loop;
end $$;
