-- Counts status changes of messages in their batches, and completes batches. Locks the batches in the order of their ids, until
-- the commit. Call it after everything else is locked, but before conversation sequences: see sms_emit_status_events.
create or replace function sms_count_in_batches(
    batch_ids uuid[], previous_statuses text[], statuses text[], at timestamptz)
returns void language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
    perform from sms_batches b where b.id = any(batch_ids) order by b.id for no key update;
    insert into sms_batch_counts as c (batch_id, status, messages)
    select s.batch_id, s.status, sum(s.change)
    from (
        select t.batch_id, t.status, 1 as change from unnest(batch_ids, statuses) as t (batch_id, status)
        union all select t.batch_id, t.status, -1 from unnest(batch_ids, previous_statuses) as t (batch_id, status)
    ) s
    group by s.batch_id, s.status having sum(s.change) <> 0
    on conflict (batch_id, status) do update set messages = c.messages + excluded.messages;
    update sms_batches b set changed_at = greatest(b.changed_at, at) where b.id = any(batch_ids);
    perform sms_complete_batches(batch_ids, at);
end $$;
