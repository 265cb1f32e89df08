-- The ledger of opt-outs and opt-ins. A trigger keeps sms_conversations.opted_out_at.
create table sms_opt_out_events (
    id              uuid primary key,
    conversation_id uuid not null references sms_conversations (id),
    action          text not null check (action in ('opt_out', 'opt_in')),
    source          text not null check (source in ('keyword', 'free_text', 'opt_out_type', 'twilio_error')),
    words           text,
    our_number      text,
    -- The SID of the message or of the callback, or the id of the attempt that Twilio refused.
    evidence        text not null,
    created_at      timestamptz not null,
    unique (conversation_id, evidence, action)
);
