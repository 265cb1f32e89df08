-- transaction: none
-- Bulk requests. A batch is one request or several with the same batch_id. Its messages are ordinary messages.
create table if not exists sms_batches (
    id              uuid primary key,
    -- A batch that is not running sends nothing. "completed" is no state: see completed_at.
    state           text not null default 'running' check (state in ('running', 'paused', 'cancelled')),
    -- The accepted messages and their segments.
    total           integer not null default 0,
    segments        bigint not null default 0,
    created_at      timestamptz not null,
    -- Set while the messages of a resumed batch are made due again.
    resumed_at      timestamptz,
    -- The last change of a message's status.
    changed_at      timestamptz not null,
    -- Since when every message has its final status. Messages that join the batch clear it.
    completed_at    timestamptz
)
-- Room for the next version of the row on its page: every status change updates it.
with (fillfactor = 50);
-- Batches that are not complete, the longest unchanged first.
create index if not exists sms_batches_open on sms_batches (changed_at) where completed_at is null;

-- The number of messages by status, so that reading the progress costs the same for any number. The transaction that changes a
-- status counts it (sms_count_in_batches).
create table if not exists sms_batch_counts (
    batch_id    uuid not null references sms_batches (id),
    status      text not null,
    messages    integer not null,
    primary key (batch_id, status)
) with (fillfactor = 50);

-- No foreign key: it would lock the batch before the messages, but the batch is locked last.
alter table sms_messages add column if not exists batch_id uuid;
-- The file has no transaction.
-- squawk-ignore ban-concurrent-index-creation-in-transaction
create index concurrently if not exists sms_messages_of_batch on sms_messages (batch_id, id) where batch_id is not null;

-- The response of a bulk request, for its repetition. It has ids and reasons, but no text and no number.
alter table idempotency_keys add column if not exists response text;

-- Unused since sms_create_send_3.
-- squawk-ignore ban-drop-function
drop function if exists sms_create_send_2;
