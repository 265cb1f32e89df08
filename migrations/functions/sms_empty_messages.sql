-- Empties a kind of data of the next max_rows messages before an id. Bodies: text and metadata. Media: the references to them,
-- and the copies in object storage (sms_erase_media).
-- Moves the cursor in the same transaction, so that a run which ends at any time continues here.
-- - A message that may still be sent keeps its data. It and rows that others have locked are put on a list, and later calls
--   return to those that have settled.
-- - Returns how many messages it looked at, and how many it emptied. If both are 0, no work is left.
create or replace function sms_empty_messages(wanted text, before uuid, max_rows integer, present timestamptz)
returns table (passed bigint, emptied bigint, emptied_bytes bigint)
language plpgsql set lock_timeout = '500ms' as $$
declare
    start uuid;
    messages uuid[];
begin
    insert into sms_retention_cursors (kind, position, updated_at)
    values (wanted, '00000000-0000-0000-0000-000000000000', present) on conflict do nothing;
    -- Concurrent runs take turns.
    select c.position into start from sms_retention_cursors c where c.kind = wanted for update;
    with next as materialized (
        select m.id from sms_messages m where m.id > start and m.id < before order by m.id limit max_rows
    ), settled as (
        select s.message_id as id from sms_retention_skipped s join sms_messages m on m.id = s.message_id
        where s.kind = wanted and m.delivery_status not in ('pending', 'unknown') and m.claimed_at is null
        limit max_rows
    ), held as (
        select m.id, case wanted when 'bodies' then octet_length(m.message_content) + coalesce(pg_column_size(m.metadata), 0)
                                 else pg_column_size(m.media) end as size
        from sms_messages m
        where m.id in (select n.id from next n union all select s.id from settled s)
          and m.delivery_status not in ('pending', 'unknown') and m.claimed_at is null
        for no key update of m skip locked
    ), done as (
        update sms_messages m
        set message_content = case wanted when 'bodies' then '' else m.message_content end,
            metadata = case wanted when 'bodies' then null else m.metadata end,
            media = case wanted when 'media' then '[]' else m.media end
        from held h
        where m.id = h.id
          and case wanted when 'bodies' then m.message_content <> '' or m.metadata is not null else m.media <> '[]' end
        returning m.id, h.size
    ), moved as (
        update sms_retention_cursors c set position = last.id, updated_at = present
        from (select n.id from next n order by n.id desc limit 1) last where c.kind = wanted
    ), skipped as (
        insert into sms_retention_skipped (kind, message_id)
        select wanted, n.id from next n where n.id not in (select h.id from held h) on conflict do nothing
    ), returned_to as (
        delete from sms_retention_skipped s using held h where s.kind = wanted and s.message_id = h.id
    )
    select (select count(*) from next), count(*), coalesce(sum(d.size), 0)::bigint, array_agg(d.id)
    into passed, emptied, emptied_bytes, messages from done d;
    if wanted = 'media' and emptied > 0 then
        perform sms_erase_media(messages, present);
    end if;
    return next;
end $$;
