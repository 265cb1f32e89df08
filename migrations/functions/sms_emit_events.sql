-- Writes events of conversations, in the order of the arrays, and returns how many. data is the JSON of the type.
--
-- - given: the events, numbered per conversation;
-- - counted: the sequences, locked in the order of conversations until the commit, so that a rollback returns the numbers.
-- - event: the workflow type only if it is a name such as collections. Callers may put any text there, and an event stays after
--   the content of its conversation was erased.
-- A transaction must call this after it has locked everything else, and once for all its conversations. Then a wait for a
-- sequence is a wait for transactions that need no further lock.
create or replace function sms_emit_events(
    types text[], conversation_ids uuid[], message_ids uuid[], data text[], at timestamptz)
returns bigint language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    emitted bigint;
begin
    if coalesce(cardinality(types), 0) = 0 then
        return 0;
    end if;
    with given as (
        select t.*, row_number() over (partition by conversation_id order by place) as rank,
            count(*) over (partition by conversation_id) as total
        from unnest(types, conversation_ids, message_ids, data) with ordinality
            as t (type, conversation_id, message_id, data, place)
    ), counted as (
        insert into sms_conversation_sequences as s (conversation_id, last_sequence)
        select g.conversation_id, g.total from given g where g.rank = 1 order by g.conversation_id
        on conflict (conversation_id) do update set last_sequence = s.last_sequence + excluded.last_sequence
        returning conversation_id, last_sequence
    ), event as (
        select sms_new_id() as id, g.type, g.conversation_id, n.last_sequence - g.total + g.rank as sequence, g.message_id,
            c.tenant_id, (regexp_match(coalesce(m.workflow_type, c.workflow_type), '^[a-z][a-z0-9_]{0,63}$'))[1] as workflow_type,
            g.data
        from given g
        join counted n on n.conversation_id = g.conversation_id
        join sms_conversations c on c.id = g.conversation_id
        left join sms_messages m on m.id = g.message_id
    )
    insert into sms_events_pending (
        id, event_type, conversation_id, message_id, tenant_id, workflow_type, body, created_at)
    select e.id, e.type, e.conversation_id, e.message_id, e.tenant_id, e.workflow_type,
        sms_event_body(e.id, e.type, at, e.conversation_id, e.sequence, e.message_id, e.tenant_id, e.workflow_type, e.data), at
    from event e order by e.conversation_id, e.sequence;
    get diagnostics emitted = row_count;
    return emitted;
end $$;
