-- Returns which entries of the opt-out ledger, given by their evidence, opted a number out or in: in a scope to which they
-- apply, their action differs from that of the entry before, and no later entry existed already.
create or replace function sms_opt_out_changes(conversation_ids uuid[], new_evidence text[]) returns text[]
language plpgsql stable
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
    return array(
        select distinct e.evidence
        from (select o.evidence, o.evidence = any(new_evidence) as is_new,
                  o.action <> lag(o.action, 1, 'opt_in') over ledger as differs,
                  coalesce(bool_or(o.evidence <> all(new_evidence)) over (
                      ledger rows between 1 following and unbounded following), false) as is_outdated
              from sms_consent_by_scope(conversation_ids) o
              window ledger as (partition by o.conversation_id, o.scope order by o.created_at, o.id)) e
        where e.is_new and e.differs and not e.is_outdated);
end $$;
