-- Where each part of a reconciliation continues, by its window.
create table twilio_reconciliation_cursors (
    since       timestamptz not null,
    until       timestamptz not null,
    part        text not null check (part in ('list', 'unsent')),
    -- list: Twilio's URL of the next page. unsent: the id of the last fetched message. Null: the beginning.
    position    text,
    -- How often Twilio failed to return the next item.
    failures    integer not null default 0,
    updated_at  timestamptz not null,
    primary key (since, until, part)
);

-- Inbound messages that reconciliation found and that are stored once Twilio has listed their media.
create table twilio_awaiting_media (
    twilio_sid  text primary key,
    -- Twilio's message resource. Not jsonb, which cannot store NUL characters.
    message     json not null,
    tries       integer not null default 0,
    tried_at    timestamptz
);
