-- What remove-old-data and manage-archives have done, so that the next run continues.

-- How far retention has emptied columns of sms_messages.
create table sms_retention_cursors (
    kind        text primary key check (kind in ('bodies', 'media')),
    -- The last message id.
    position    uuid not null,
    updated_at  timestamptz not null
);

-- Messages that retention passed while they might still be sent or were locked. It returns to them.
create table sms_retention_skipped (
    kind        text not null references sms_retention_cursors (kind),
    message_id  uuid not null,
    primary key (kind, message_id)
);

-- Months in object storage. There is a row as soon as an archive is complete.
create table sms_archives (
    archived_table  text not null,
    -- Such as 2026-10, in UTC.
    month           text not null check (month ~ '^[0-9]{4}-[0-9]{2}$'),
    row_count       bigint not null,
    -- The size of the compressed parts.
    byte_count      bigint not null,
    -- Of manifest.json.
    sha256          text not null,
    archived_at     timestamptz not null,
    -- Set before the month is dropped for the first time. From then on, the archive is not written again.
    dropped_at      timestamptz,
    -- A restored month is not dropped again before.
    keep_until      timestamptz,
    primary key (archived_table, month)
);

-- The parts of an archive. They exist from the first part on, and tell which part contains a row.
create table sms_archive_parts (
    archived_table  text not null,
    month           text not null check (month ~ '^[0-9]{4}-[0-9]{2}$'),
    number          integer not null check (number > 0),
    -- The name of its object. A part without erased rows has another name.
    name            text not null,
    first_id        uuid not null,
    last_id         uuid not null,
    row_count       bigint not null,
    byte_count      bigint not null,
    sha256          text not null,
    -- When the object was read back and compared.
    verified_at     timestamptz,
    primary key (archived_table, month, number)
);
