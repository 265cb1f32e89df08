-- Returns the number of rows of a table with an id after one and up to another.
create or replace function sms_count_rows(relation text, after uuid, until uuid) returns bigint
language plpgsql stable as $$
declare
    found_rows bigint;
begin
    execute format('select count(*) from %2$I where %1$I > $1 and %1$I <= $2', sms_key_of(relation), relation)
    into found_rows using after, until;
    return found_rows;
end $$;
