-- Inserts lines of sms_archive_page into a partition and returns how many were new. Rows that exist stay as they are. The bounds
-- of the partition reject rows of other months.
create or replace function sms_restore_rows(relation text, columns text[], lines text[]) returns bigint
language plpgsql as $$
declare
    names text := (select string_agg(quote_ident(name), ', ' order by position)
                   from unnest(columns) with ordinality as c (name, position));
    restored bigint;
begin
    execute format(
        'insert into %1$I (%2$s)
         select %2$s from unnest($1) line, lateral jsonb_populate_record(null::%1$I, line::jsonb) on conflict do nothing',
        relation, names)
    using lines;
    get diagnostics restored = row_count;
    return restored;
end $$;
