-- Returns the next rows of a table after an id, in the order of their ids, each as one line of JSON. Ends before the row that
-- would exceed max_bytes, but returns at least one. The time zone is fixed, so that equal rows give equal lines.
create or replace function sms_archive_page(relation text, after uuid, max_rows integer, max_bytes bigint)
returns table (row_id uuid, line text)
language plpgsql stable set timezone = 'UTC' as $$
begin
    return query execute format(
        'with page as materialized (
             select next.%1$I as row_id, row_to_json(next)::text as line
             from (select * from %2$I where %1$I > $1 order by %1$I limit $2) next
         ), numbered as (
             select p.*, sum(octet_length(p.line)) over (order by p.row_id) - octet_length(p.line) as bytes_before from page p
         )
         select n.row_id, n.line from numbered n where n.bytes_before < $3 order by n.row_id',
        sms_key_of(relation), relation)
    using after, max_rows, max_bytes;
end $$;
