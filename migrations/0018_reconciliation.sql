-- Reconciliation with Twilio continues where it stopped, part by part, and no single message blocks it. What Twilio reports as
-- an opt-out counts from the create that it refused.

-- Where a part of a reconciliation continues, by the window that it works through. twilio_reconciliations is the table of the
-- previous version, which still runs while this is applied. A later migration drops it.
create table twilio_reconciliation_cursors (
    since       timestamptz not null,
    until       timestamptz not null,
    part        text not null check (part in ('list', 'unsent')),
    -- list: Twilio's address of the next page. unsent: the id of the last message that was fetched. Null: the beginning.
    position    text,
    -- How often Twilio failed to return what comes next.
    failures    int not null default 0,
    updated_at  timestamptz not null,
    primary key (since, until, part)
);
insert into twilio_reconciliation_cursors (since, until, part, position, updated_at)
select since, until, 'list', next_page, updated_at from twilio_reconciliations;

-- Inbound messages that reconciliation found, and that are stored once Twilio has listed their media.
create table twilio_awaiting_media (
    twilio_sid  text primary key,
    -- Twilio's description. Not jsonb, which takes no NUL.
    message     json not null,
    tries       int not null default 0,
    tried_at    timestamptz
);

-- Dates an opt-out that Twilio reported with code 21610. A callback or a reconciliation reports it late: an opt-in that was
-- recorded after the refused create is newer. If the create came after the opt-in after all, the next send is refused again.
-- The evidence is the id of the attempt, or Twilio's SID of it.
create function sms_date_refusal() returns trigger language plpgsql as $$
begin
    if new.evidence ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
        new.created_at := least(
            new.created_at, (select a.started_at from sms_send_attempts a where a.id = new.evidence::uuid));
    else
        new.created_at := least(
            new.created_at, (select a.started_at from sms_send_attempts a where a.twilio_sid = new.evidence));
    end if;
    return new;
end $$;

create trigger sms_opt_out_events_date_refusal before insert on sms_opt_out_events
    for each row when (new.source = 'twilio_error') execute function sms_date_refusal();
