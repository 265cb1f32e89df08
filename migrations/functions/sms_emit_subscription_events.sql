-- Writes events about subscriptions, in the order of the arrays. They have no conversation, so also no sequence.
create or replace function sms_emit_subscription_events(
    types text[], subscription_ids uuid[], data text[], at timestamptz)
returns void language plpgsql as $$
#variable_conflict use_column
begin
    insert into sms_events_pending (id, event_type, subscription_id, body, created_at)
    select e.id, e.type, e.subscription_id, sms_event_body(e.id, e.type, at, null, null, null, null, null, e.data), at
    from (
        select sms_new_id() as id, t.*
        from unnest(types, subscription_ids, data) with ordinality as t (type, subscription_id, data, place)
    ) e order by e.place;
end $$;
