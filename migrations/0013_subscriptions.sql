-- Subscriptions and their deliveries (common/docs/decisions/0027-deliveries.md).

-- A subscription.* event is about a subscription instead of a conversation. It is not delivered to that subscription.
alter table sms_events_pending add column subscription_id uuid;
alter table sms_events add column subscription_id uuid;

create table sms_subscriptions (
    id                  uuid primary key,
    -- The destination: one of the two.
    url                 text,
    queue_arn           text,
    -- The filters. No types: all. workflow_type and tenant_id: any if null.
    event_types         text[] not null,
    workflow_type       text,
    tenant_id           text,
    -- Whether events of conversations without a tenant are delivered.
    include_unknown     boolean not null,
    -- Whether numbers and text are added to the data of message events.
    content             boolean not null,
    max_in_flight       integer not null check (max_in_flight between 1 and 100),
    max_hold_seconds    integer not null check (max_hold_seconds between 0 and 3600),
    description         text,
    -- Signing needs the secret itself, so it cannot be stored as a hash.
    secret              text not null,
    -- The secret before a rotation signs too, until its time.
    previous_secret     text,
    previous_until      timestamptz,
    -- The key that created it.
    api_key_id          uuid not null,
    status              text not null check (status in ('active', 'disabled')),
    disabled_reason     text,
    -- The first failure after the last success.
    failing_since       timestamptz,
    -- The last warning of the current failure: 0, 50 or 90 percent.
    warned_percent      integer not null default 0,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    check ((url is null) <> (queue_arn is null))
);

-- How far deliveries are, one row per subscription, and one more during a replay.
create table sms_delivery_streams (
    subscription_id     uuid not null references sms_subscriptions (id) on delete cascade,
    kind                text not null check (kind in ('live', 'replay')),
    -- Every matching event up to here was delivered, was given up, or has a row in sms_deliveries.
    position            bigint not null,
    -- The last known matching event; for a replay, where it ends. position < target means work.
    target              bigint not null,
    -- Types of a replay; none: those of the subscription.
    types               text[] not null default '{}',
    -- Nothing is claimed before: the receiver is slow, unavailable or asked for it, or the rate of a replay is used up.
    paused_until        timestamptz not null default '-infinity',
    -- Consecutive failures of the receiver as a whole: no connection, a timeout, 429, 502, 503 or 504.
    failures            integer not null default 0,
    -- Until then its hints go to [slow-events], because an attempt took long.
    slow_until          timestamptz not null default '-infinity',
    -- When a hint was put on a queue, or a worker last worked on the stream. Null if there is neither.
    hinted_at           timestamptz,
    -- A delayed hint that is on a queue is due then.
    wake_at             timestamptz,
    -- Whether sms_deliveries has as many rows of the stream as are allowed. Then position stands still.
    is_full             boolean not null default false,
    -- The earliest time at which a row in sms_deliveries can be claimed, if there are any; maintained with each change.
    next_due_at         timestamptz,
    primary key (subscription_id, kind)
) with (fillfactor = 50);

-- Undelivered events: in flight, waiting for a retry, or held back by an earlier event of their conversation. Most rows stay
-- for moments, so the table is vacuumed often.
create table sms_deliveries (
    subscription_id     uuid not null,
    kind                text not null,
    position            bigint not null,
    event_id            uuid not null,
    conversation_id     uuid,
    -- Attempts so far.
    attempts            integer not null default 0,
    -- Not before.
    next_attempt_at     timestamptz not null,
    -- Of the attempt in flight. After that, its worker has died.
    leased_until        timestamptz,
    -- Later events of the conversation wait until then. Set by the first failure.
    holds_until         timestamptz,
    primary key (subscription_id, kind, position),
    foreign key (subscription_id, kind) references sms_delivery_streams (subscription_id, kind) on delete cascade
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000);
create index sms_deliveries_by_conversation on sms_deliveries (subscription_id, kind, conversation_id, position);

-- Attempts that failed, and those that succeeded after a failure.
create table sms_delivery_attempts (
    -- By sms_new_id.
    id                  uuid primary key,
    subscription_id     uuid not null,
    event_id            uuid not null,
    attempt             integer not null,
    attempted_at        timestamptz not null,
    duration_ms         integer not null,
    status_code         integer,
    error               text,
    -- Up to 4 KiB; null for subscriptions with content, whose receivers might return it.
    response_body       text,
    next_attempt_at     timestamptz
) partition by range (id);
create table sms_delivery_attempts_default partition of sms_delivery_attempts default;
create index sms_delivery_attempts_by_subscription on sms_delivery_attempts (subscription_id, id);

-- Up to where sms_match_events has compared the log with the subscriptions: its only row.
create table sms_match_counter (
    is_only_row         boolean primary key default true check (is_only_row),
    position            bigint not null
);
insert into sms_match_counter (position) select last_position from sms_event_counter;

-- The limits of deliveries, from the configuration of the workers.
create type sms_delivery_limits as (
    lease_seconds       double precision,
    -- Undelivered events of a stream that have a row in sms_deliveries.
    max_rows            integer,
    -- Positions of the log that one claim examines.
    max_range           bigint,
    -- The pause after the first failure of a receiver as a whole. Each further one doubles it.
    pause_seconds       double precision,
    max_pause_seconds   double precision,
    -- A stream is slow for slow_seconds after an attempt that took longer than slow_ms.
    slow_seconds        double precision,
    slow_ms             integer,
    replay_per_second   double precision,
    -- A worker stays with a stream that can be claimed within this time, and sends a delayed hint for work within wake_seconds.
    stay_seconds        double precision,
    wake_seconds        double precision
);

-- The result of an attempt.
create type sms_delivery_result as (
    position            bigint,
    -- The lease under which it was made.
    leased_until        timestamptz,
    -- delivered, failed, unavailable (the receiver as a whole), gone (410), or released (not finished, not a failure).
    outcome             text,
    -- Null after the last attempt: the event is given up.
    next_attempt_at     timestamptz,
    retry_after_seconds double precision,
    attempted_at        timestamptz,
    duration_ms         integer,
    status_code         integer,
    error               text,
    response_body       text
);
