-- Writes the events of messages whose state differs from the one before: status_event if the status changed, the message was
-- parked, or a failure got its error code; failed_event if it failed. Then writes "others", events of the same transaction,
-- such as opt-outs that error codes report: their conversations and messages, all of one type with the same data. Counts the
-- changes of messages that belong to batches.
--
-- Call it last in a transaction (sms_emit_events). A message may be given several times; its first state counts.
create or replace function sms_emit_status_events(
    before sms_message_state[], status_event text, failed_event text, at timestamptz,
    others_event text default null, others_data text default null,
    other_conversations uuid[] default '{}', other_messages uuid[] default '{}')
returns bigint language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    events record;
begin
    with was as (
        select distinct on (t.message_id) t.*
        from unnest(before) with ordinality as t (message_id, delivery_status, error_code, is_parked, place)
        order by t.message_id, t.place
    ), changed as (
        select m.id, m.conversation_id, m.delivery_status as status, w.delivery_status as previous_status, m.error_code,
            m.parked_at is not null as parked, m.batch_id,
            m.delivery_status in ('failed', 'undelivered') as is_failed,
            w.delivery_status in ('failed', 'undelivered') as was_failed
        from was w join sms_messages m on m.id = w.message_id
        where m.delivery_status <> w.delivery_status
           or (m.parked_at is not null and not w.is_parked)
           or (m.delivery_status in ('failed', 'undelivered') and m.error_code is distinct from w.error_code)
    ), event as (
        select 1 as kind, status_event as type, c.conversation_id, c.id as message_id, row_to_json(d)::text as data
        from changed c, lateral (select c.status, c.previous_status, c.error_code, c.parked) d
        union all
        select 2, failed_event, c.conversation_id, c.id, row_to_json(d)::text
        from changed c, lateral (select c.status, c.error_code) d where c.is_failed and not c.was_failed
        union all
        select 3, others_event, o.conversation_id, o.message_id, others_data
        from unnest(other_conversations, other_messages) as o (conversation_id, message_id)
    )
    select array_agg(e.type order by message_id, kind) as types,
        array_agg(e.conversation_id order by message_id, kind) as conversation_ids,
        array_agg(e.message_id order by message_id, kind) as message_ids,
        array_agg(e.data order by message_id, kind) as data,
        (select array_agg(c.batch_id order by c.id) from changed c where c.batch_id is not null) as batch_ids,
        (select array_agg(c.previous_status order by c.id) from changed c where c.batch_id is not null) as previous_statuses,
        (select array_agg(c.status order by c.id) from changed c where c.batch_id is not null) as statuses
    into events from event e;
    if events.batch_ids is not null then
        perform sms_count_in_batches(events.batch_ids, events.previous_statuses, events.statuses, at);
    end if;
    return sms_emit_events(events.types, events.conversation_ids, events.message_ids, events.data, at);
end $$;
