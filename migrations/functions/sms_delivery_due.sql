-- Returns the undelivered events of a stream, each with the time from which it can be claimed. Those of one lane are claimed one
-- after the other: a lane is a conversation, or one event without a conversation.
--
-- - An event in flight: when its lease ends, because then its worker has died. Others of its lane: unknown (infinity).
-- - Otherwise: at its next attempt, and not while an earlier event of the lane holds it back: until its holds_until, or for as
--   long as it was not attempted.
create or replace function sms_delivery_due(of_subscription uuid, of_kind text, at timestamptz)
returns table ("position" bigint, lane uuid, due_at timestamptz, is_leased bool)
language sql stable as $$
    select d.position, coalesce(d.conversation_id, d.event_id),
        case when coalesce(d.leased_until > at, false) then d.leased_until
            when bool_or(coalesce(d.leased_until > at, false)) over all_of_lane then 'infinity'
            else greatest(d.next_attempt_at, max(coalesce(d.holds_until, 'infinity')) over earlier_of_lane) end,
        coalesce(d.leased_until > at, false)
    from sms_deliveries d
    where d.subscription_id = of_subscription and d.kind = of_kind
    window all_of_lane as (partition by coalesce(d.conversation_id, d.event_id)),
        earlier_of_lane as (partition by coalesce(d.conversation_id, d.event_id) order by d.position
            rows between unbounded preceding and 1 preceding)
$$;
