-- What happened, for whoever wants to be told: written in the transaction that makes it true, read by cursor. Nothing
-- delivers events to subscribers yet.
create table sms_events (
    id              uuid primary key,
    event_type      text not null check (event_type in
        ('message.received', 'message.status', 'message.failed', 'conversation.tenant_identified',
         'conversation.language_changed', 'contact.opted_out', 'contact.opted_in', 'subscription.disabled')),
    conversation_id uuid references sms_conversations (id),
    message_id      uuid references sms_messages (id),
    -- What a subscriber is told beyond the ids; no body, no number.
    data            jsonb not null default '{}',
    created_at      timestamptz not null
);
