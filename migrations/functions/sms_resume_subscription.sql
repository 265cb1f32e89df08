-- Enables a disabled subscription. Delivery continues where it ended, so that no event is skipped. Returns whether it was
-- disabled.
--
-- Waits for a comparison that runs (sms_match_events), because that does not see the subscription as active. Events that are
-- numbered later are compared later.
create or replace function sms_resume_subscription(of_subscription uuid, at timestamptz) returns bool
language plpgsql as $$
#variable_conflict use_column
declare
    resumed bool;
begin
    perform from sms_match_counter for update;
    perform from sms_delivery_streams d where d.subscription_id = of_subscription order by d.kind for update;
    update sms_subscriptions s set status = 'active', disabled_reason = null, failing_since = null, warned_percent = 0,
        updated_at = at
    where s.id = of_subscription and s.status = 'disabled';
    resumed := found;
    update sms_delivery_streams d set failures = 0, paused_until = '-infinity', hinted_at = null, wake_at = null,
        target = case when d.kind = 'live' then greatest(d.target, c.last_position) else d.target end
    from sms_event_counter c where d.subscription_id = of_subscription and resumed;
    return resumed;
end $$;
