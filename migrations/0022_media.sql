-- Files of inbound messages. store-media copies them to object storage (common/docs/decisions/0033-media.md).
create table sms_media (
    -- The key of the object is derived from it.
    id              uuid primary key,
    message_id      uuid not null references sms_messages (id),
    position        integer not null,
    -- Where Twilio has the file. Empty once the content is erased.
    url             text not null,
    -- The type according to Twilio, and the one that the bytes have.
    declared_type   text,
    detected_type   text,
    -- In bytes.
    size            integer,
    sha256          text,
    status          text not null check (status in ('pending', 'stored', 'failed')),
    -- Why it failed, or why the last attempt failed.
    error           text,
    attempts        integer not null default 0,
    -- When there is something to do, or when the claim of a worker ends: copy the file of a pending row, delete the file
    -- of a stored row at Twilio, delete the object of an erased row. Null if there is nothing to do.
    next_attempt_at timestamptz,
    -- When the webhook was received.
    created_at      timestamptz not null,
    -- Since when the content is erased, or removed because of its age. The row is deleted with its object.
    erased_at       timestamptz,
    unique (message_id, position)
);
create index sms_media_due on sms_media (next_attempt_at) where next_attempt_at is not null;
