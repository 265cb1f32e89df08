-- transaction: none
-- Numbers that their carriers have deactivated, from Twilio's daily lists.

-- Set while messages to the number are refused because it was deactivated: the beginning of the day of the list (UTC).
-- An inbound message or an opt-in after that day clears it. It has no index, so that updates of the row write none
-- (HOT).
alter table sms_conversations add column if not exists deactivated_at timestamptz;

-- The days whose list was read to its end.
create table if not exists sms_deactivation_days (
    day         date primary key,
    -- The numbers of the list, and how many conversations the run that read its end has marked.
    numbers     bigint not null,
    marked      bigint not null,
    read_at     timestamptz not null
);
