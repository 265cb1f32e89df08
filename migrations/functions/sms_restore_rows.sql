-- Inserts lines of sms_archive_page into a partition and returns how many were new. Rows that exist stay as they are. Erased rows
-- that the archive still contains are left out. The bounds of the partition reject rows of other months.
create or replace function sms_restore_rows(parent text, relation text, columns text[], lines text[]) returns bigint
language plpgsql as $$
declare
    names text := (select string_agg(quote_ident(name), ', ' order by position)
                   from unnest(columns) with ordinality as c (name, position));
    restored bigint;
begin
    execute format(
        'insert into %1$I (%2$s)
         select %2$s from unnest($1) line, lateral jsonb_populate_record(null::%1$I, line::jsonb) archived
         where not exists (select from sms_erased_archive_rows e where e.table_name = $2 and e.row_id = archived.%3$I)
         on conflict do nothing',
        relation, names, sms_key_of(relation))
    using lines, parent;
    get diagnostics restored = row_count;
    return restored;
end $$;
