-- One conversation per handset number and Twilio account. It is never deleted.
create table sms_conversations (
    id                      uuid primary key,
    account_sid             text not null,
    -- An E.164 number, a short code or an alphanumeric sender.
    phone_number_canonical  text not null,
    -- The first received spelling.
    phone_number_original   text not null,

    -- Set by routers through the API.
    workflow_type           text,
    workflow_id             text,
    conversation_status     text not null default 'open'
        check (conversation_status ~ '^[a-z][a-z0-9_]{0,63}$'),
    -- The recipient's time zone (IANA name), if it is known better than by the number.
    time_zone               text,

    -- Set while the number refuses messages. sms_opt_out_events has the evidence.
    opted_out_at            timestamptz,
    -- Since when the carrier blocks messages to this number (Twilio's error 30004). A delivered message clears it.
    carrier_blocked_at      timestamptz,
    -- The last automatic reply, which limits how often there is one.
    auto_replied_at         timestamptz,

    -- Content that was received by then is erased. A webhook of that time that is stored later is stored without content.
    erased_at               timestamptz,

    -- Maintained by a trigger, because counting messages would cost more with each.
    message_count           bigint not null default 0,
    last_message_at         timestamptz,
    -- The hour of the latest activity, by which conversations are listed. An index on last_message_at would have to be
    -- updated with every message.
    active_hour             timestamptz not null generated always as
        (date_trunc('hour', coalesce(last_message_at, created_at) at time zone 'UTC') at time zone 'UTC') stored,

    -- The tenant that the Monitor returned for the number.
    tenant_id               text,
    tenant_identified_at    timestamptz,
    -- The tenants that share the number. tenant_id is null then.
    tenant_candidates       jsonb,
    -- Since when the Monitor no longer returns a tenant. A single such response may be a mistake.
    tenant_missing_since    timestamptz,
    -- When the next lookup is due. Null: there was none yet, and one is due.
    tenant_next_check_at    timestamptz,
    -- Consecutive lookups without a tenant, and without a response. Both lengthen the interval between lookups.
    tenant_vain_checks      integer not null default 0,
    tenant_failed_checks    integer not null default 0,
    -- Since when the language of the tenant must be decided again.
    tenant_unsettled_at     timestamptz,
    -- The spelling by which the Monitor found a new tenant, while the remaining spellings must still be looked up.
    tenant_found_by         text,

    language_detected       text not null default 'unknown'
        check (language_detected in ('en', 'es', 'pt', 'unknown')),
    language_confidence     double precision not null default 0
        check (language_confidence between 0 and 1),
    -- The evidence for language_detected, in the order of common/src/domain/language/decision.rs: strength (0 none, 1 weak,
    -- 2 fair, 3 strong), whether it comes from this number or from another number of the tenant, its time, its message SID.
    language_strength       smallint not null default 0,
    language_own            boolean not null default false,
    language_at             timestamptz not null default '-infinity',
    language_evidence       text not null default '',

    created_at              timestamptz not null,
    unique (account_sid, phone_number_canonical)
)
-- Room for the next version of a row on its page: updates that change no indexed column write no index (HOT).
with (fillfactor = 80);

-- The list by latest activity, and its filters that may match few conversations.
create index sms_conversations_active on sms_conversations (account_sid, active_hour desc);
create index sms_conversations_of_workflow on sms_conversations (account_sid, workflow_type, active_hour desc)
    where workflow_type is not null;
create index sms_conversations_in_language on sms_conversations (account_sid, language_detected, active_hour desc)
    where language_detected in ('es', 'pt');
create index sms_conversations_without_tenant on sms_conversations (account_sid, active_hour desc) where tenant_id is null;
create index sms_conversations_opted_out on sms_conversations (account_sid, active_hour desc)
    where opted_out_at is not null;

-- Due tenant lookups. Only phone numbers have tenants.
create index sms_conversations_tenant_due on sms_conversations (tenant_next_check_at)
    where phone_number_canonical like '+%';
create index sms_conversations_of_tenant on sms_conversations (tenant_id) where tenant_id is not null;
create index sms_conversations_unsettled on sms_conversations (tenant_unsettled_at) where tenant_unsettled_at is not null;

create table sms_messages (
    id                      uuid primary key,
    conversation_id         uuid not null references sms_conversations (id),
    direction               text not null check (direction in ('inbound', 'outbound')),
    -- Unique by sms_message_sids. Null until Twilio has accepted an outbound message.
    twilio_sid              text,
    -- Null if a messaging service chooses the sender.
    from_number             text,
    to_number               text not null,
    messaging_service_sid   text,
    message_content         text not null,
    media                   jsonb not null default '[]',
    delivery_status         text not null check (delivery_status in
        ('received', 'pending', 'unknown', 'queued', 'sending', 'sent', 'delivered', 'read',
         'failed', 'undelivered', 'canceled')),
    -- Twilio's error code, or one of ours, such as opted_out or retries_exhausted.
    error_code              text,
    created_at              timestamptz not null,
    request_id              text,
    -- Since when its content is erased. A message that may be at Twilio keeps it until that is known (sms_empty_erased).
    erased_at               timestamptz,

    -- Inbound messages.
    language                text not null default 'unknown' check (language in ('en', 'es', 'pt', 'unknown')),
    language_confidence     double precision not null default 0 check (language_confidence between 0 and 1),
    -- How strong the evidence for the conversation's language is; 0 for none.
    language_strength       smallint not null default 0,
    -- Whether the message refuses messages.
    opt_out                 text
        check (opt_out is null or (direction = 'inbound' and opt_out in ('opt_out', 'unsure', 'none'))),
    -- Whether NUL characters were removed from the text or the raw webhook: Postgres cannot store them.
    nul_removed             boolean not null default false,

    -- Outbound messages.
    -- Our number, or else the messaging service that chooses one: sms_senders has its pace.
    sender                  text generated always as
        (case when direction = 'outbound' then coalesce(from_number, messaging_service_sid, '') end) stored,
    encoding                text check (encoding in ('GSM-7', 'UCS-2')),
    segments                integer,
    priority                text not null default 'normal' check (priority in ('urgent', 'normal', 'bulk')),
    workflow_type           text,
    workflow_id             text,
    metadata                jsonb,
    api_key_id              uuid,
    -- The inbound message of an automatic reply: at most one reply each.
    in_reply_to             uuid unique references sms_messages (id),
    -- The earliest and the latest time to send.
    send_at                 timestamptz,
    send_before             timestamptz,
    -- When the next attempt is due, while pending.
    next_attempt_at         timestamptz,
    -- The end of the recipient's quiet hours, if next_attempt_at was moved there. Another time zone changes both.
    quiet_until             timestamptz,
    -- Set while a function holds the message to send it. No other function may.
    claimed_at              timestamptz,
    -- When Twilio's list is searched for the message again, while the status is unknown.
    resolve_at              timestamptz,
    -- Since when the message waits for an operator's decision.
    parked_at               timestamptz,
    check (direction = 'outbound' or twilio_sid is not null)
);

-- A conversation's page, newest first.
create index sms_messages_of_conversation on sms_messages (conversation_id, created_at desc, id desc);
-- Messages that may be sent, by sender and priority, the longest due first.
create index sms_messages_to_dispatch
    on sms_messages (sender, priority, next_attempt_at)
    where delivery_status = 'pending' and claimed_at is null and twilio_sid is null;
-- Expired messages. Each pending message is in one of these two.
create index sms_messages_send_before on sms_messages (send_before)
    where delivery_status = 'pending' and claimed_at is null and send_before is not null;
create index sms_messages_wanted_at on sms_messages (coalesce(send_at, created_at))
    where delivery_status = 'pending' and claimed_at is null and send_before is null;
-- Claims of crashed functions.
create index sms_messages_claimed on sms_messages (claimed_at) where claimed_at is not null;
-- Messages that are searched for in Twilio's list.
create index sms_messages_unresolved on sms_messages (resolve_at nulls first)
    where delivery_status = 'unknown' and parked_at is null;
-- The operator's list of failures.
create index sms_messages_unsettled on sms_messages (delivery_status, created_at)
    where direction = 'outbound' and delivery_status in ('unknown', 'failed', 'undelivered');
-- Messages that Twilio accepted and has not sent yet, as far as we know. Reconciliation fetches each.
create index sms_messages_not_sent_yet on sms_messages (created_at)
    where direction = 'outbound' and delivery_status in ('queued', 'sending');

-- Attempts to create a message at Twilio: stored before the call, completed after it.
create table sms_send_attempts (
    id              uuid primary key,
    message_id      uuid not null references sms_messages (id),
    number          integer not null,
    outcome         text check (outcome in ('accepted', 'not_processed', 'rejected', 'unknown')),
    -- A message that is created several times has several SIDs. sms_messages has the latest.
    twilio_sid      text,
    error_code      text,
    -- What happened, for people. It contains no text and no number.
    detail          text,
    started_at      timestamptz not null,
    finished_at     timestamptz,
    -- When Twilio's list first lacked this attempt.
    absent_since    timestamptz,
    unique (message_id, number)
);

-- Every message SID once, forever: of inbound messages and of our creates. Narrow, because a unique index on random SIDs
-- must stay in memory. Triggers of the two tables maintain it.
create table sms_message_sids (
    -- By sms_pack_sid.
    packed_sid  bytea primary key,
    message_id  uuid not null,
    -- The create. Null for an inbound message.
    attempt_id  uuid
);

-- Every status callback once, forever: the history of a message. sms_message_status_events has the raw callbacks.
create table sms_callbacks (
    -- By sms_pack_sid.
    packed_sid      bytea not null,
    event_status    text not null,
    error_code      text,
    -- Null until the message is known.
    message_id      uuid,
    -- True if it contradicts an earlier final status.
    contradicts     boolean not null default false,
    -- The row in sms_message_status_events.
    event_id        uuid not null,
    created_at      timestamptz not null,
    unique nulls not distinct (packed_sid, event_status, error_code)
);
create index sms_callbacks_early on sms_callbacks (packed_sid) where message_id is null;

-- The tables below grow with each message and are read rarely. They have a partition per month, by their UUIDv7 ids, which
-- schedules create and drop. Rows without a month are in the default partition. No foreign keys: dropping a month would
-- lock the other table.

-- The raw webhooks of inbound messages.
create table sms_message_payloads (
    message_id          uuid primary key,
    raw_webhook_data    jsonb not null,
    created_at          timestamptz not null
) partition by range (message_id);
create table sms_message_payloads_default partition of sms_message_payloads default;

-- The raw status callbacks, in the order of arrival.
create table sms_message_status_events (
    id                  uuid primary key,
    message_id          uuid,
    twilio_sid          text not null,
    event_status        text not null,
    error_code          text,
    contradicts         boolean not null default false,
    raw_webhook_data    jsonb not null,
    nul_removed         boolean not null default false,
    created_at          timestamptz not null
) partition by range (id);
create table sms_message_status_events_default partition of sms_message_status_events default;
