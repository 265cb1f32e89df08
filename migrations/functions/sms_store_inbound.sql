-- Stores a batch of inbound messages. Returns those that were not stored before, each with its conversation's language
-- before and after the batch.
--
-- - input: one row per MessageSid, because a batch may contain a webhook twice;
-- - fresh: those that are not stored yet;
-- - conversation: their conversations, locked;
-- - stored: the messages, except those that a concurrent batch has just stored: a trigger ignores them;
-- - payload: their raw webhooks;
-- - file: their files, which store-media copies; Twilio allows ten per message;
-- - opted: their entries of the opt-out ledger.
-- A message that was received before the conversation's content was erased is stored without content.
-- Triggers update the conversations, apply the opt-outs and empty erased messages. Then the events are written; event_data
-- and the opt_event arrays are described in sms_emit_inbound_events.
create or replace function sms_store_inbound(
    ids uuid[], conversation_ids uuid[], account_sids text[], canonicals text[], twilio_sids text[],
    from_numbers text[], to_numbers text[], service_sids text[], contents text[], media_lists jsonb[],
    raw_data jsonb[], nuls_removed bool[], languages text[], language_confidences float8[], language_strengths int2[],
    opt_outs text[], opt_actions text[], opt_sources text[], opt_words text[], request_ids text[], received timestamptz[],
    received_event text, event_data text[], opt_events text[], opt_event_data text[], language_event text, at timestamptz)
returns table (message_id uuid, conversation_id uuid, twilio_sid text, previous_language text, chosen_language text)
language plpgsql as $$
#variable_conflict use_column
declare
    stored_messages sms_stored_inbound[];
begin
    with input as (
        select distinct on (twilio_sid) *
        from unnest(ids, conversation_ids, account_sids, canonicals, twilio_sids, from_numbers, to_numbers, service_sids,
                    contents, media_lists, raw_data, nuls_removed, languages, language_confidences, language_strengths,
                    opt_outs, opt_actions, opt_sources, opt_words, request_ids, received)
            with ordinality as t (id, new_conversation_id, account_sid, canonical, twilio_sid, from_number, to_number,
                  service_sid, content, media, raw_webhook_data, nul_removed, language, confidence, strength, opt_out,
                  opt_action, opt_source, opt_words, request_id, received_at, place)
        order by twilio_sid, received_at
    ), fresh as (
        select * from input i where not exists (select from sms_message_sids s where s.packed_sid = sms_pack_sid(i.twilio_sid))
    ), conversation as (
        select c.*
        from (select array_agg(account_sid) as accounts, array_agg(canonical) as canonicals,
                  array_agg(new_conversation_id) as new_ids, array_agg(from_number) as originals,
                  array_agg(received_at) as received from fresh) f,
            sms_lock_conversations(f.accounts, f.canonicals, f.new_ids, f.originals, f.received) c
    ), stored as (
        insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number,
            messaging_service_sid, message_content, media, delivery_status, language, language_confidence,
            language_strength, opt_out, nul_removed, request_id, created_at, erased_at)
        select f.id, c.id, 'inbound', f.twilio_sid, f.from_number, f.to_number, f.service_sid, f.content, f.media,
            'received', f.language, f.confidence, f.strength, f.opt_out, f.nul_removed, f.request_id, f.received_at,
            case when f.received_at <= c.erased_at then c.erased_at end
        from fresh f join conversation c on c.account_sid = f.account_sid and c.phone_number_canonical = f.canonical
        order by f.twilio_sid
        returning id, conversation_id, twilio_sid, erased_at
    ), payload as (
        insert into sms_message_payloads (message_id, raw_webhook_data, created_at)
        select f.id, f.raw_webhook_data, f.received_at from fresh f join stored s on s.id = f.id where s.erased_at is null
    ), file as (
        insert into sms_media (id, message_id, position, url, declared_type, status, next_attempt_at, created_at)
        select sms_new_id(), s.id, i.n, i.item->>'url', i.item->>'content_type', 'pending', f.received_at, f.received_at
        from fresh f join stored s on s.id = f.id
        cross join lateral jsonb_array_elements(f.media) with ordinality as i (item, n) where s.erased_at is null and i.n <= 10
    ), opted as (
        insert into sms_opt_out_events (id, conversation_id, action, source, words, our_number, evidence, created_at)
        select sms_new_id(), s.conversation_id, f.opt_action, f.opt_source,
            case when s.erased_at is null then f.opt_words end, f.to_number, f.twilio_sid, f.received_at
        from fresh f join stored s on s.id = f.id where f.opt_action is not null
    )
    select array_agg(row(s.id, s.conversation_id, s.twilio_sid, c.language_detected, f.place)::sms_stored_inbound
                     order by f.received_at, f.twilio_sid) into stored_messages
    from stored s join fresh f on f.id = s.id join conversation c on c.id = s.conversation_id;

    return query select * from sms_emit_inbound_events(
        stored_messages, received_event, event_data, opt_actions, opt_events, opt_event_data, language_event, request_ids, at);
end $$;
