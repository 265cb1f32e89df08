-- Writes the events of stored inbound messages, in their order, and returns the messages with the language of their
-- conversation before and after:
-- - received_event, with the event_data of the message;
-- - language_event, if the message is the evidence for another language of its conversation;
-- - the opt_event of the message, if it has one: an opt-out or opt-in only if it changed what applies to the number.
--
-- The arrays are those of the batch. Call it last in a transaction (sms_emit_events), with locked conversations.
create or replace function sms_emit_inbound_events(
    stored sms_stored_inbound[], received_event text, event_data text[], opt_actions text[], opt_events text[],
    opt_event_data text[], language_event text, request_ids text[], at timestamptz)
returns table (message_id uuid, conversation_id uuid, twilio_sid text, previous_language text, chosen_language text)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    changes text[] := '{}';
    events record;
begin
    if exists (select from unnest(stored) s where opt_actions[s.place] is not null) then
        select sms_opt_out_changes(array_agg(s.conversation_id), array_agg(s.twilio_sid)) into changes
        from unnest(stored) s where opt_actions[s.place] is not null;
    end if;
    with message as (
        select s.*, c.language_detected, c.language_confidence,
            c.language_evidence = s.twilio_sid and c.language_detected <> s.previous_language as changed_language
        from unnest(stored) with ordinality
            as s (message_id, conversation_id, twilio_sid, previous_language, place, rank)
        join sms_conversations c on c.id = s.conversation_id
    ), event as (
        select 1 as kind, received_event as type, m.rank, m.conversation_id, m.message_id, event_data[m.place] as data
        from message m
        union all
        select 2, language_event, m.rank, m.conversation_id, m.message_id, sms_language_data(
            m.language_detected, m.previous_language, m.language_confidence, 'message', request_ids[m.place])
        from message m where m.changed_language
        union all
        select 3, opt_events[m.place], m.rank, m.conversation_id, m.message_id, opt_event_data[m.place]
        from message m
        where opt_events[m.place] is not null and (opt_actions[m.place] is null or m.twilio_sid = any(changes))
    )
    select array_agg(e.type order by rank, kind) as types,
        array_agg(e.conversation_id order by rank, kind) as conversation_ids,
        array_agg(e.message_id order by rank, kind) as message_ids,
        array_agg(e.data order by rank, kind) as data
    into events from event e;
    perform sms_emit_events(events.types, events.conversation_ids, events.message_ids, events.data, at);
    return query
    select s.message_id, s.conversation_id, s.twilio_sid, s.previous_language, c.language_detected
    from unnest(stored) s join sms_conversations c on c.id = s.conversation_id;
end $$;
