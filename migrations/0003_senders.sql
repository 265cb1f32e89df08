-- Our senders, by number or messaging service: their pace and their holds. The first message of a sender creates its row
-- (common/docs/decisions/0009-pace-in-postgres.md).
create table sms_senders (
    sender      text primary key,
    -- When everything sent so far will have left at the sender's pace: the theoretical arrival time of the generic cell
    -- rate algorithm.
    ready_at    timestamptz not null default '-infinity',
    -- Nothing is sent before. Then one message is sent as a probe, whose outcome ends or extends the hold.
    held_until  timestamptz,
    held_reason text check (held_reason in ('queue_full', 'limited', 'configuration')),
    held_code   text,
    -- When the wake-up in the queue is due.
    wake_at     timestamptz
);
