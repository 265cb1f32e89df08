-- Returns the conversations whose rows of an import already are the latest entries of their ledgers, in the same order:
-- the same file was imported before. So are rows that end with an opt-in, if the ledger has all of them, however old: whatever
-- was recorded since then is newer. "conversations" has the conversation of each row, by its place. A row that states
-- the same as the row before it for the same number counts once.
create or replace function sms_repeated_consent(conversations uuid[], stated jsonb) returns uuid[]
language plpgsql stable
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
    return array(
        select s.conversation_id
        from (select d.conversation_id, array_agg(d.statement order by d.place) as statements,
                  bool_and(sms_has_stated(d.conversation_id, d.statement->>0, d.statement->>1, d.statement->>2, d.statement->>3))
                      as are_known
              from (select g.*, g.statement is distinct from lag(g.statement) over (
                        partition by g.conversation_id order by g.place) as differs
                    from (select r.place, conversations[r.place] as conversation_id,
                              jsonb_build_array(r.action, coalesce(r.scope, 'all'), r.source, r.evidence) as statement
                          from jsonb_to_recordset(stated)
                              as r (place int, action text, scope text, source text, evidence text)) g) d
              where d.differs and d.conversation_id is not null
              group by d.conversation_id) s
        where s.are_known and s.statements[cardinality(s.statements)]->>0 = 'opt_in' or s.statements = array(
            select e.statement
            from (select o.created_at, o.id,
                      jsonb_build_array(o.action, o.scope, o.stated_source, o.stated_evidence) as statement
                  from sms_opt_out_events o where o.conversation_id = s.conversation_id
                  order by o.created_at desc, o.id desc limit cardinality(s.statements)) e
            order by e.created_at, e.id));
end $$;
