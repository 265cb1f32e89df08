-- Events, written in the transaction of the change that they report. There are no subscribers yet.
create table sms_events (
    -- By sms_new_id.
    id              uuid primary key,
    event_type      text not null check (event_type in
        ('message.received', 'message.status', 'message.failed', 'conversation.tenant_identified',
         'conversation.language_changed', 'contact.opted_out', 'contact.opted_in', 'subscription.disabled')),
    conversation_id uuid,
    message_id      uuid,
    -- The event's data without the ids. It contains no text and no number.
    data            jsonb not null default '{}',
    created_at      timestamptz not null
) partition by range (id);
create table sms_events_default partition of sms_events default;
