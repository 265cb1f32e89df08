-- The pace of MMS, and what a sender has sent in a day. Each claim updates the row anyway
-- (common/docs/decisions/0035-daily-limits-and-mms-pace.md).
alter table sms_senders
    -- As ready_at, of MMS with a rate of their own.
    add column mms_ready_at   timestamptz,
    -- The end of the day that day_sent counts: midnight in Pacific Time.
    add column day_ends_at    timestamptz,
    -- Segments and MMS claimed in the day for a call to Twilio.
    add column day_sent       int not null default 0,
    -- The end of the day, while messages wait for it.
    add column day_full_until timestamptz;
