-- Events (common/docs/decisions/0026-event-log.md). The statement that makes a change writes its event to
-- sms_events_pending. After the commit, sms_number_events gives it a position and moves it to sms_events.

-- The number of events of each conversation, of any age. Narrow, because every event updates a row. No index covers
-- last_sequence, so that updates are HOT, with room for the next version on the page.
create table sms_conversation_sequences (
    conversation_id uuid primary key,
    last_sequence   bigint not null
) with (fillfactor = 70);

-- Events without a position. Rows stay for moments, so the table is vacuumed often.
create table sms_events_pending (
    -- The order of a conversation's events. Assigned under the lock of its sequence, unlike the order of commits.
    number          bigint generated always as identity primary key,
    id              uuid not null,
    event_type      text not null,
    conversation_id uuid,
    message_id      uuid,
    tenant_id       text,
    workflow_type   text,
    body            text not null,
    created_at      timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000);

-- The last position of the log: its only row. Positions ascend forever, also when old events are dropped.
create table sms_event_counter (
    is_only_row     boolean primary key default true check (is_only_row),
    last_position   bigint not null
);
insert into sms_event_counter (last_position) values (0);

-- The event log.
create table sms_events (
    -- By sms_new_id.
    id              uuid primary key,
    -- 1, 2, 3 … without gaps, in the order in which events became visible.
    position        bigint not null,
    event_type      text not null,
    conversation_id uuid,
    message_id      uuid,
    -- When it was written, of the conversation; workflow_type is that of the message, if it has one.
    tenant_id       text,
    workflow_type   text,
    -- The JSON that every reader gets. It contains no text and no number.
    body            text not null,
    created_at      timestamptz not null
) partition by range (id);
create table sms_events_default partition of sms_events default;
-- The log is read by position. Dropped months leave no gap to search: the index of each partition is asked once.
create index sms_events_position on sms_events (position);

-- The part of a message that status events report.
create type sms_message_state as (
    message_id      uuid,
    delivery_status text,
    error_code      text,
    is_parked       boolean
);

-- A message that sms_store_inbound has stored: "place" is its place in the arrays of the batch.
create type sms_stored_inbound as (
    message_id          uuid,
    conversation_id     uuid,
    twilio_sid          text,
    previous_language   text,
    place               bigint
);
