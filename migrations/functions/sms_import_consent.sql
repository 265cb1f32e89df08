-- Records the consent of a chunk of an import, as if its rows were recorded one after the other (sms_record_consent).
-- Returns for each row whether its number is known and whether it has a new entry. A row changes nothing if the latest
-- entry of its number states the same, if all rows of its number were imported before (sms_repeated_consent), or if it is
-- an opt-in that was recorded before (sms_has_stated). So a chunk may be repeated. All rows of a number must be in one chunk, and the ids of the entries ascend with the rows.
--
-- - conversations: locked before the ledger is read (sms_consent_conversations);
-- - given: the rows that are not repeated, ranked per conversation;
-- - compared: whether a row differs from the row before it of the same number, or from the latest entry. New entries
--   are later than the latest one, even if that has the time of a clock that is ahead;
-- - written: the entries, in one statement. Its trigger takes the locks of all opt-outs in one order, and waits for
--   calls to Twilio that have passed the gate (sms_conversation_opt_out).
-- The events are written last and at once (sms_emit_events): one for each row that changed what applies to its number. A row
-- with a scope has event data of its own. Rows of the previous release have neither and apply to all messages.
create or replace function sms_import_consent(
    account text, stated jsonb, entry_source text, opted_out_event text, opted_out_data text, opted_in_event text,
    opted_in_data text, at timestamptz)
returns table (place int, is_known bool, is_new bool)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    conversations uuid[];
    repeated uuid[];
    entries uuid[];
    changes uuid[];
    events record;
begin
    conversations := sms_consent_conversations(account, stated, at);
    repeated := sms_repeated_consent(conversations, stated);
    with given as (
        select r.place, r.entry_id, r.action, coalesce(r.scope, 'all') as scope, r.source, r.evidence, r.api_key_id,
            conversations[r.place] as conversation_id,
            row_number() over (partition by conversations[r.place] order by r.place) as rank
        from jsonb_to_recordset(stated) as r (
            place int, entry_id uuid, action text, scope text, source text, evidence text, api_key_id uuid)
        where conversations[r.place] is not null and conversations[r.place] <> all(repeated) and not (r.action = 'opt_in'
          and sms_has_stated(conversations[r.place], r.action, coalesce(r.scope, 'all'), r.source, r.evidence))
    ), compared as (
        select g.*, max(latest.created_at) over ledger as latest_at,
            (g.action, g.scope, g.source, g.evidence) is distinct from (
                lag(g.action, 1, latest.action) over ledger, lag(g.scope, 1, latest.scope) over ledger,
                lag(g.source, 1, latest.stated_source) over ledger, lag(g.evidence, 1, latest.stated_evidence) over ledger
            ) as differs
        from given g left join lateral (
            select o.* from sms_opt_out_events o where g.rank = 1 and o.conversation_id = g.conversation_id
            order by o.created_at desc, o.id desc limit 1
        ) latest on true
        window ledger as (partition by g.conversation_id order by g.place)
    ), written as (
        insert into sms_opt_out_events as o (
            id, conversation_id, action, scope, source, evidence, stated_source, stated_evidence, api_key_id, created_at)
        select c.entry_id, c.conversation_id, c.action, c.scope, entry_source, c.entry_id::text, c.source, c.evidence,
            c.api_key_id, greatest(at, c.latest_at + interval '1 microsecond')
        from compared c where c.differs
        returning o.id
    )
    select coalesce(array_agg(w.id), '{}') into entries from written w;

    changes := sms_opt_out_changes(conversations, entries::text[])::uuid[];
    select
        array_agg(case r.action when 'opt_out' then opted_out_event else opted_in_event end order by r.place) as types,
        array_agg(conversations[r.place] order by r.place) as conversation_ids,
        array_agg(null::uuid) as message_ids,
        array_agg(coalesce(r.event_data, case r.action when 'opt_out' then opted_out_data else opted_in_data end)
                  order by r.place) as data
    into events
    from jsonb_to_recordset(stated) as r (place int, entry_id uuid, action text, event_data text) where r.entry_id = any(changes);
    perform sms_emit_events(events.types, events.conversation_ids, events.message_ids, events.data, at);
    return query select r.place, conversations[r.place] is not null, r.entry_id = any(entries)
    from jsonb_to_recordset(stated) as r (place int, entry_id uuid);
end $$;
