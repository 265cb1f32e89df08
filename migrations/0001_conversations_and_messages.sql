-- Conversations: one per number and Twilio account, for ever.
create table sms_conversations (
    id                      uuid primary key,
    account_sid             text not null,
    phone_number_canonical  text not null,
    phone_number_original   text not null,
    tenant_id               text,
    workflow_type           text,
    workflow_id             text,
    conversation_status     text not null default 'open',
    language_detected       text not null default 'unknown'
        check (language_detected in ('en', 'es', 'pt', 'unknown')),
    language_confidence     double precision not null default 0
        check (language_confidence between 0 and 1),
    -- Set while the number refuses messages; the ledger below holds how it came to that.
    opted_out_at            timestamptz,
    -- When this service last answered by itself, which bounds how often it does.
    auto_replied_at         timestamptz,
    -- How many messages the conversation holds. Kept by a trigger, since counting them would cost more with each.
    message_count           bigint not null default 0,
    last_message_at         timestamptz,
    created_at              timestamptz not null,
    unique (account_sid, phone_number_canonical)
);

create table sms_messages (
    id                      uuid primary key,
    conversation_id         uuid not null references sms_conversations (id),
    direction               text not null check (direction in ('inbound', 'outbound')),
    -- Unique for ever: a webhook that comes twice is one message. Null until Twilio has taken a message of ours.
    twilio_sid              text unique,
    -- Null when a messaging service chooses the sender and has not said yet whom.
    from_number             text,
    to_number               text not null,
    messaging_service_sid   text,
    message_content         text not null,
    media                   jsonb not null default '[]',
    delivery_status         text not null check (delivery_status in
        ('received', 'pending', 'unknown', 'queued', 'sending', 'sent', 'delivered', 'read',
         'failed', 'undelivered', 'canceled')),
    -- Twilio's number, or a word of ours such as opted_out or retries_exhausted.
    error_code              text,
    language                text not null default 'unknown' check (language in ('en', 'es', 'pt', 'unknown')),
    language_confidence     double precision not null default 0 check (language_confidence between 0 and 1),
    -- The whole webhook, NULs removed, since jsonb can't hold them; nul_removed says whether there were any.
    raw_webhook_data        jsonb,
    nul_removed             boolean not null default false,
    encoding                text check (encoding in ('GSM-7', 'UCS-2')),
    segments                integer,
    priority                text not null default 'normal' check (priority in ('urgent', 'normal', 'bulk')),
    workflow_type           text,
    workflow_id             text,
    metadata                jsonb,
    api_key_id              uuid,
    request_id              text,
    -- The inbound message that this one answers by itself: at most one answer each.
    in_reply_to             uuid unique references sms_messages (id),
    -- Not before, and not after.
    send_at                 timestamptz,
    send_before             timestamptz,
    -- When the next try is due; meaningful while pending.
    next_attempt_at         timestamptz,
    -- When it was last put on its queue; null when that is still to be done, or failed.
    enqueued_at             timestamptz,
    -- Set while a function holds the message to hand it to Twilio: nobody else may.
    claimed_at              timestamptz,
    created_at              timestamptz not null,
    check (direction = 'outbound' or twilio_sid is not null)
);

-- A conversation's page, newest first.
create index sms_messages_of_conversation on sms_messages (conversation_id, created_at desc, id desc);
-- What a sweep looks for.
create index sms_messages_due on sms_messages (next_attempt_at)
    where delivery_status = 'pending' and claimed_at is null;
create index sms_messages_claimed on sms_messages (claimed_at)
    where claimed_at is not null;

-- Keeps a conversation's count and latest activity with the messages that are truly inserted, so that a duplicate,
-- which inserts nothing, has no effect. Conversations are locked in the order of their ids, as in every statement.
create function sms_conversation_activity() returns trigger language plpgsql as $$
begin
    with fresh as (
        select conversation_id, count(*) as messages, max(created_at) as latest
        from inserted group by conversation_id order by conversation_id
    )
    update sms_conversations c
    set message_count = c.message_count + fresh.messages,
        last_message_at = greatest(c.last_message_at, fresh.latest)
    from fresh where c.id = fresh.conversation_id;
    return null;
end $$;

create trigger sms_messages_inserted after insert on sms_messages
    referencing new table as inserted
    for each statement execute function sms_conversation_activity();

-- Every callback, once, in the order of arrival. message_id is null until the message is known.
create table sms_message_status_events (
    id                  uuid primary key,
    message_id          uuid references sms_messages (id),
    twilio_sid          text not null,
    event_status        text not null,
    error_code          text,
    -- True when a final status was already known and this one says otherwise.
    contradicts         boolean not null default false,
    raw_webhook_data    jsonb not null,
    nul_removed         boolean not null default false,
    created_at          timestamptz not null,
    unique nulls not distinct (twilio_sid, event_status, error_code)
);

create index sms_message_status_events_of_message on sms_message_status_events (message_id);

-- Every try to hand a message to Twilio: written before the call, completed after it.
create table sms_send_attempts (
    id              uuid primary key,
    message_id      uuid not null references sms_messages (id),
    number          integer not null,
    outcome         text check (outcome in ('accepted', 'not_processed', 'rejected', 'unknown')),
    twilio_sid      text,
    error_code      text,
    -- What happened, for a person; never a body or a number.
    detail          text,
    started_at      timestamptz not null,
    finished_at     timestamptz,
    unique (message_id, number)
);
