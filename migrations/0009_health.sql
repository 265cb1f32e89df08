-- The last deep health check: one row shared by all instances, so that concurrent requests cause one check.
create table sms_health (
    only_row    boolean primary key default true check (only_row),
    -- Set while an instance checks.
    claimed_at  timestamptz,
    checked_at  timestamptz,
    result      jsonb
);
insert into sms_health default values;
