-- The last deep health check: one row that all instances of the function share, so that many calls at once cause one check
-- of each peer. claimed_at is set while an instance checks.
create table sms_health (
    only_row    boolean primary key default true check (only_row),
    claimed_at  timestamptz,
    checked_at  timestamptz,
    result      jsonb
);
insert into sms_health default values;
