-- Disables an active subscription, and writes the event that says so. Its events stay undelivered until it is enabled.
create or replace function sms_disable_subscription(of_subscription uuid, reason text, disabled_event text, at timestamptz)
returns void language plpgsql as $$
#variable_conflict use_column
declare
    since timestamptz;
begin
    update sms_subscriptions s set status = 'disabled', disabled_reason = reason, updated_at = at
    where s.id = of_subscription and s.status = 'active' returning s.failing_since into since;
    if found then
        perform sms_emit_subscription_events(array[disabled_event], array[of_subscription], array(
            select row_to_json(d)::text
            from (select of_subscription as subscription_id, reason, sms_event_time(since) as failing_since) d), at);
    end if;
end $$;
