-- Completes batches all of whose messages have a final status, or, if "settled" is given, one of these, and writes
-- batch.completed. The event has no conversation, so also no sequence.
create or replace function sms_complete_batches(batch_ids uuid[], at timestamptz, settled text[] default '{}')
returns bigint language plpgsql as $$
#variable_conflict use_column
declare
    completed bigint;
begin
    with complete as (
        update sms_batches b set completed_at = at
        where b.id = any(batch_ids) and b.completed_at is null and not exists (
            select from sms_batch_counts c where c.batch_id = b.id and c.messages > 0
              and c.status <> all(array['delivered', 'read', 'failed', 'undelivered', 'canceled'] || settled))
        returning b.*
    ), event as (
        select sms_new_id() as id, row_to_json(d)::text as data
        from complete b, lateral (
            select b.id as batch_id, case b.state when 'cancelled' then 'cancelled' else 'completed' end as status, b.total,
                (select '{' || coalesce(string_agg(to_json(c.status) || ':' || c.messages, ',' order by c.status), '') || '}'
                 from sms_batch_counts c where c.batch_id = b.id and c.messages > 0)::json as by_status,
                b.segments) d
    )
    insert into sms_events_pending (id, event_type, body, created_at)
    select e.id, 'batch.completed',
        sms_event_body(e.id, 'batch.completed', at, null, null, null, null, null, e.data), at
    from event e;
    get diagnostics completed = row_count;
    return completed;
end $$;
