-- The ledger of opt-outs: who, when, in which words, to which number of ours, and how we learnt of it.
create table sms_opt_out_events (
    id              uuid primary key,
    conversation_id uuid not null references sms_conversations (id),
    action          text not null check (action in ('opt_out', 'opt_in')),
    source          text not null check (source in ('keyword', 'free_text', 'opt_out_type', 'twilio_error')),
    words           text,
    our_number      text,
    -- What said so: the MessageSid of the text or of the callback, or the id of our attempt that Twilio refused.
    evidence        text not null,
    created_at      timestamptz not null,
    unique (conversation_id, evidence, action)
);

-- A conversation refuses messages as long as the latest entry of its ledger says so, whatever the order in which the
-- entries arrived.
create function sms_conversation_opt_out() returns trigger language plpgsql as $$
begin
    with latest as (
        select distinct on (conversation_id) conversation_id, action, created_at
        from sms_opt_out_events
        where conversation_id in (select conversation_id from inserted)
        order by conversation_id, created_at desc, id desc
    )
    update sms_conversations c
    set opted_out_at = case when latest.action = 'opt_out' then coalesce(c.opted_out_at, latest.created_at) end
    from latest where c.id = latest.conversation_id;
    return null;
end $$;

create trigger sms_opt_out_events_inserted after insert on sms_opt_out_events
    referencing new table as inserted
    for each statement execute function sms_conversation_opt_out();
