-- One step of a worker with a stream: records the results of its attempts, claims events for at most "wanted" further ones, and
-- returns them with the subscription, or one row without an event. No row: the stream is gone, because the subscription was
-- deleted or the replay is complete. Its lock makes concurrent workers take turns.
--
-- in_flight: the worker's attempts without those in "results". A worker of [slow-events] claims for any stream, others only for
-- streams that are not slow. Types in content_types get the numbers and the text of their message if the subscription wants
-- them. resume_at, is_over and hint_at: see sms_schedule_stream.
create or replace function sms_exchange_deliveries(
    of_subscription uuid, of_kind text, results jsonb, wanted integer, in_flight integer, is_slow_worker bool, limits jsonb,
    content_types text[], disabled_event text, at timestamptz)
returns table (
    is_over bool, resume_at timestamptz, hint_at timestamptz, is_slow bool, is_active bool, url text, queue_arn text, secret text,
    previous_secret text, content bool, "position" bigint, event_id uuid, conversation_id uuid, attempts integer,
    leased_until timestamptz, body text, created_at timestamptz, has_content bool, from_number text, to_number text,
    message_content text)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    own sms_delivery_limits := jsonb_populate_record(null::sms_delivery_limits, limits);
    was sms_delivery_streams;
    stream sms_delivery_streams;
    s sms_subscriptions;
    wants bool;
    taken record;
    plan record;
begin
    select d.* into was from sms_delivery_streams d
    where d.subscription_id = of_subscription and d.kind = of_kind for update;
    if not found then
        return;
    end if;
    stream := was;
    if jsonb_array_length(results) > 0 then
        stream := sms_record_deliveries(stream, results, own, disabled_event, at);
    end if;
    select x.* into s from sms_subscriptions x where x.id = of_subscription;
    wants := wanted > 0 and s.status = 'active' and (is_slow_worker or stream.slow_until <= at);
    taken := sms_claim_deliveries(
        stream, s, case when wants and stream.paused_until <= at then wanted else 0 end, own, at);
    plan := sms_schedule_stream(
        taken.stream, s.status = 'active', in_flight > 0 or taken.claimed <> '{}', wants, taken.slots, own, at);
    if not sms_save_stream(was, plan.stream) then
        return;
    end if;
    stream := plan.stream;
    return query
    select plan.is_over, plan.resume_at, plan.hint_at, stream.slow_until > at, s.status = 'active', s.url, s.queue_arn, s.secret,
        case when s.previous_until > at then s.previous_secret end, s.content, d.position, d.event_id, d.conversation_id,
        d.attempts, d.leased_until, e.body, e.created_at, m.id is not null, m.from_number, m.to_number, m.message_content
    from (select) as always
    left join sms_deliveries d on d.subscription_id = of_subscription and d.kind = of_kind and d.position = any(taken.claimed)
    left join sms_events e on e.id = d.event_id
    left join sms_messages m on s.content and m.id = e.message_id and e.event_type = any(content_types)
    order by d.position;
end $$;
