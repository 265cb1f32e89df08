-- Adds numbers by name.
create or replace function sms_add_counts(counts jsonb, added jsonb) returns jsonb language sql immutable as $$
    select coalesce(jsonb_object_agg(name, total), '{}')
    from (select c.key as name, sum(c.value::bigint) as total
          from (select * from jsonb_each_text(counts) union all select * from jsonb_each_text(added)) c group by c.key) t
$$;
