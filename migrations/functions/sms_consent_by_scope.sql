-- Returns the entries of ledgers by the scopes to which they apply. In each scope, the latest entry wins.
--
-- An entry applies to its own scope. An opt-in to all messages that was recorded through the API also applies to every
-- other scope of its ledger. A text does not: YES opts in again after a STOP, but is an ordinary answer too, and must not
-- end what was stated elsewhere.
create or replace function sms_consent_by_scope(conversation_ids uuid[])
returns table (conversation_id uuid, scope text, action text, evidence text, created_at timestamptz, id uuid)
language plpgsql stable
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
begin
    return query
    select o.conversation_id, s.scope, o.action, o.evidence, o.created_at, o.id
    from sms_opt_out_events o
    cross join lateral (
        select o.scope
        union
        select e.scope from sms_opt_out_events e
        where e.conversation_id = o.conversation_id and o.action = 'opt_in' and o.scope = 'all' and o.source = 'consent'
    ) s
    where o.conversation_id = any(conversation_ids);
end $$;
