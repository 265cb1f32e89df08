-- Deletes old rows of a default partition, at most max_rows, and returns their number and size. Their ids come from a wrong
-- clock: they are older than all months, or more than a day in the future. Rows that others have locked stay for the next call.
-- Their real time is in created_at or attempted_at.
create or replace function sms_delete_misplaced_rows(relation text, before timestamptz, present timestamptz, max_rows integer)
returns table (deleted_rows bigint, deleted_bytes bigint)
language plpgsql as $$
begin
    return query execute format(
        'with old as (
             select %1$I as id from %2$I
             where %3$I < $1 and (%1$I < sms_first_id($1) or %1$I >= sms_first_id($2 + interval ''1 day''))
             limit $3
             for update skip locked
         ), deleted as (
             delete from %2$I d using old where d.%1$I = old.id returning pg_column_size(d.*) as size
         )
         select count(*), coalesce(sum(size), 0)::bigint from deleted',
        sms_key_of(relation), relation, (
            select a.attname from pg_attribute a
            where a.attrelid = relation::regclass and a.attname in ('created_at', 'attempted_at')))
    using before, present, max_rows;
end $$;
