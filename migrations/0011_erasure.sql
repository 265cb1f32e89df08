-- Erasures of a conversation's content: who asked for it, and how many rows were erased.
create table sms_erasures (
    id              uuid primary key,
    conversation_id uuid not null references sms_conversations (id),
    api_key_id      uuid not null,
    request_id      text not null,
    requested_at    timestamptz not null,
    -- The latest message that belongs to the erasure. Clocks differ, so that it may be later than the request.
    up_to           timestamptz not null,
    -- Null if the request ended before all messages were erased. The next request erases the rest.
    completed_at    timestamptz,
    counts          jsonb not null default '{}'
);
create index sms_erasures_of_conversation on sms_erasures (conversation_id, requested_at);

-- Erased rows of which an archive may have a copy. The archive job deletes them there, and they must not be restored.
create table sms_erased_archive_rows (
    table_name  text not null,
    row_id      uuid not null,
    erased_at   timestamptz not null,
    primary key (table_name, row_id)
);
