-- Stores the messages of a bulk request, and counts them in their batch. Returns each message's place and conversation; the
-- conversation is null if the recipient has opted out, and the message is not stored then. Returns one row without a place if
-- the Idempotency-Key was used before: a concurrent request with it is waited for, and an expired key is reused.
--
-- - missing conversations are created in the order of their numbers, so that concurrent requests do not deadlock;
-- - the opt-out is checked as far as it is committed. The gate before the call checks it again;
-- - the batch is locked last, as in sms_emit_status_events.
create or replace function sms_create_bulk(
    batch uuid, account text, messages jsonb, by_key uuid, by_request text, trace text, now_at timestamptz,
    once_key text, once_hash bytea, forgotten_before timestamptz)
returns table (place int, conversation_id uuid)
language plpgsql
-- A connection keeps plans that it made when there were few conversations.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    stored record;
begin
    if once_key is not null then
        insert into idempotency_keys as k (api_key_id, idempotency_key, payload_hash, resource_id, created_at)
        values (by_key, once_key, once_hash, batch, now_at)
        on conflict (api_key_id, idempotency_key) do update
            set payload_hash = excluded.payload_hash, resource_id = excluded.resource_id, created_at = excluded.created_at,
                response = null
            where k.created_at < forgotten_before;
        if not found then
            return next;
            return;
        end if;
    end if;

    insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
    select distinct on (m.recipient) m.new_conversation, account, m.recipient, m.recipient_original, now_at
    from jsonb_to_recordset(messages) as m (new_conversation uuid, recipient text, recipient_original text)
    order by m.recipient
    on conflict (account_sid, phone_number_canonical) do nothing;

    with inserted as (
        insert into sms_messages (id, conversation_id, direction, from_number, to_number, messaging_service_sid, message_content,
            media, delivery_status, encoding, segments, priority, workflow_type, workflow_id, metadata, api_key_id, request_id,
            trace_context, send_at, send_before, next_attempt_at, created_at, replaced_from, purpose, language, language_confidence,
            batch_id)
        select m.id, c.id, 'outbound', m.sender_number, m.recipient, m.service_sid, m.content, m.media, 'pending',
            m.encoding, m.segments, m.priority, m.workflow_type, m.workflow_id, m.metadata, by_key, by_request, trace, m.send_at,
            m.send_before, greatest(m.send_at, now_at), now_at, m.replaced, m.purpose, m.language, m.language_confidence, batch
        from sms_bulk_messages(messages) m
        join sms_conversations c on c.account_sid = account and c.phone_number_canonical = m.recipient
        where not sms_refuses(
            c.opted_out_at, c.opted_out_scopes, coalesce(m.workflow_type, c.workflow_type), m.purpose)
        returning segments
    )
    select count(*)::integer as messages, coalesce(sum(segments), 0) as segments into stored from inserted;
    perform sms_add_to_batch(batch, stored.messages, stored.segments, now_at);

    return query
    select m.place, o.conversation_id from sms_bulk_messages(messages) m left join sms_messages o on o.id = m.id;
end $$;
