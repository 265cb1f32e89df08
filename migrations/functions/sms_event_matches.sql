-- Returns whether a subscription gets an event: its type, workflow and tenant match, and the conversation has a tenant unless
-- include_unknown is set. has_conversation is false for subscription.* events; "about" is their subscription, which does not
-- get them itself.
create or replace function sms_event_matches(
    s sms_subscriptions, event_type text, workflow_type text, tenant_id text, has_conversation bool, about uuid)
returns bool language sql immutable parallel safe as $$
    select (cardinality(s.event_types) = 0 or event_type = any(s.event_types))
        and (s.workflow_type is null or s.workflow_type = workflow_type)
        and (s.tenant_id is null or s.tenant_id = tenant_id)
        and (tenant_id is not null or s.include_unknown or not has_conversation)
        and (about is null or about <> s.id)
$$;
