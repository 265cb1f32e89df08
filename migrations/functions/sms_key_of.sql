-- Returns the name of a table's primary key column, by which partitioned tables are partitioned.
create or replace function sms_key_of(relation text) returns text
language sql stable as $$
    select a.attname::text
    from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = relation::regclass and i.indisprimary
$$;
