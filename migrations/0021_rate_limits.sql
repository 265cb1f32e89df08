-- Messages that API keys requested per minute (common/docs/decisions/0032-rate-limits.md). Rows of past minutes are deleted
-- by retry-sends. Requests of one key use random shards, so that they do not wait for each other.
create table sms_key_usage (
    api_key_id  uuid not null,
    -- The start of the minute, in UTC.
    minute      timestamptz not null,
    shard       smallint not null,
    used        integer not null,
    primary key (api_key_id, minute, shard)
)
-- Room for the next version of a row on its page: updates change no indexed column and write no index (HOT).
with (fillfactor = 50);
