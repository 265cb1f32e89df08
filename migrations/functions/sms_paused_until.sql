-- The due time of messages whose batch is paused or cancelled: they leave the front of their sender's queue until the batch is
-- resumed or they are canceled. "infinity" has no equivalent in JSON.
create or replace function sms_paused_until() returns timestamptz language sql immutable parallel safe as $$
    select timestamptz '9999-01-01 00:00:00+00'
$$;
