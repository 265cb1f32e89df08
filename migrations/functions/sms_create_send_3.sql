-- Stores a message to send, once per Idempotency-Key. Returns whether the recipient has opted out, or else the message's
-- conversation; neither if the key was used before.
--
-- - The opt-out is checked as far as it is committed. The gate before the call checks it again.
-- - A key that a concurrent request uses is waited for. An expired key is reused.
-- - The trigger of sms_messages updates the conversation; no lock is needed here.
create or replace function sms_create_send_3(
    new_id uuid, new_conversation uuid, account text, recipient text, recipient_original text, sender_number text,
    service_sid text, replaced text, content text, media_list jsonb, text_encoding text, segment_count int, urgency text, for_purpose text,
    for_workflow_type text, for_workflow_id text, kept_metadata jsonb, not_before timestamptz, not_after timestamptz,
    by_key uuid, by_request text, trace text, now_at timestamptz, once_key text, once_hash bytea, forgotten_before timestamptz)
returns table (opted_out bool, conversation_id uuid)
language plpgsql
-- A connection keeps plans that it made when there were few conversations.
set enable_seqscan = off set jit = off
as $$
#variable_conflict use_column
declare
    conversation uuid;
begin
    select c.id,
        sms_refuses(c.opted_out_at, c.opted_out_scopes, coalesce(for_workflow_type, c.workflow_type), for_purpose)
    into conversation, opted_out
    from sms_conversations c where c.account_sid = account and c.phone_number_canonical = recipient;
    opted_out := coalesce(opted_out, false);
    if opted_out then
        return next;
        return;
    end if;

    if once_key is not null then
        insert into idempotency_keys as k (api_key_id, idempotency_key, payload_hash, resource_id, created_at)
        values (by_key, once_key, once_hash, new_id, now_at)
        on conflict (api_key_id, idempotency_key) do update
            set payload_hash = excluded.payload_hash, resource_id = excluded.resource_id, created_at = excluded.created_at
            where k.created_at < forgotten_before;
        if not found then
            return next;
            return;
        end if;
    end if;

    if conversation is null then
        insert into sms_conversations as c (id, account_sid, phone_number_canonical, phone_number_original, created_at)
        values (new_conversation, account, recipient, recipient_original, now_at)
        on conflict (account_sid, phone_number_canonical)
            do update set phone_number_canonical = excluded.phone_number_canonical
        returning c.id into conversation;
    end if;

    insert into sms_messages (id, conversation_id, direction, from_number, to_number, messaging_service_sid,
        message_content, media, delivery_status, encoding, segments, priority, workflow_type, workflow_id,
        metadata, api_key_id, request_id, trace_context, send_at, send_before, next_attempt_at, created_at, replaced_from,
        purpose)
    values (new_id, conversation, 'outbound', sender_number, recipient, service_sid, content, media_list, 'pending',
        text_encoding, segment_count, urgency, for_workflow_type, for_workflow_id, kept_metadata, by_key, by_request,
        trace, not_before, not_after, greatest(not_before, now_at), now_at, replaced,
        for_purpose);
    conversation_id := conversation;
    return next;
end $$;
