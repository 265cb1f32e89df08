-- Creates the partition of a month (UTC) unless it exists. Returns whether it was created. Rows of the month that are in
-- the default partition move to it. Writers and concurrent calls wait for the lock of the table until the commit: a writer
-- that waited for the lock of the default partition would fail, because its row no longer belongs there.
create or replace function sms_add_partition(parent text, month date) returns bool
language plpgsql as $$
declare
    partition text := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
    first_id uuid := sms_first_id(month::timestamp at time zone 'UTC');
    end_id uuid := sms_first_id((month + interval '1 month')::timestamp at time zone 'UTC');
    key text := (select a.attname from pg_partitioned_table p
                 join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
                 where p.partrelid = parent::regclass);
begin
    execute format('lock table only %I in access exclusive mode', parent);
    if exists (select from pg_inherits i
               where i.inhparent = parent::regclass and i.inhrelid = to_regclass(partition)) then
        return false;
    end if;
    execute format('create table %I (like %I including all)', partition, parent);
    execute format(
        'with moved as (delete from %I where %I >= %L and %I < %L returning *) insert into %I select * from moved',
        parent || '_default', key, first_id, key, end_id, partition);
    execute format(
        'alter table %I attach partition %I for values from (%L) to (%L)', parent, partition, first_id, end_id);
    return true;
end $$;
