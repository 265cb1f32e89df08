-- Stores a batch of inbound messages and returns those that were not stored before.
--
-- A function, so that a connection plans its statement once: under a transaction pooler no statement can be prepared,
-- and reading and planning this one takes longer than running it with ten messages.
--
-- Its steps:
-- - input: one row per MessageSid, since a batch may hold the same webhook twice;
-- - fresh: those not stored before;
-- - existing: their conversations, locked in the order of numbers, as everywhere and as the missing ones are created
--   (ids are no order to go by: two batches give a number different ones), so that batches don't wait for each other;
-- - created: the conversations that were missing; the update changes nothing but makes the row that a neighbour
--   created a moment ago appear in the result, which "do nothing" would not;
-- - stored: the messages, except those that a neighbour stored a moment ago;
-- - opted: the ledger's entries of those.
--
-- Triggers then keep the conversations' counts, latest activity and opt-out with what was truly inserted.
create function sms_store_inbound(
    ids uuid[], conversation_ids uuid[], account_sids text[], canonicals text[], twilio_sids text[],
    from_numbers text[], to_numbers text[], service_sids text[], contents text[], media_lists jsonb[],
    raw_data jsonb[], nuls_removed bool[], languages text[], language_confidences float8[],
    opt_actions text[], opt_sources text[], opt_words text[], request_ids text[], received timestamptz[])
returns table (message_id uuid, conversation_id uuid, twilio_sid text) language plpgsql as $$
#variable_conflict use_column
begin
    return query
    with input as (
        select distinct on (twilio_sid) *
        from unnest(ids, conversation_ids, account_sids, canonicals, twilio_sids, from_numbers, to_numbers,
                    service_sids, contents, media_lists, raw_data, nuls_removed, languages, language_confidences,
                    opt_actions, opt_sources, opt_words, request_ids, received)
            as t (id, conversation_id, account_sid, canonical, twilio_sid, from_number, to_number,
                  messaging_service_sid, message_content, media, raw_webhook_data, nul_removed, language,
                  language_confidence, opt_action, opt_source, opt_words, request_id, received_at)
        order by twilio_sid, received_at
    ), fresh as (
        select * from input i where not exists (select from sms_messages m where m.twilio_sid = i.twilio_sid)
    ), existing as (
        select c.id, c.account_sid, c.phone_number_canonical
        from sms_conversations c
        where (c.account_sid, c.phone_number_canonical) in (select f.account_sid, f.canonical from fresh f)
        order by c.account_sid, c.phone_number_canonical
        for no key update
    ), created as (
        insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
        select distinct on (f.account_sid, f.canonical)
               f.conversation_id, f.account_sid, f.canonical, f.from_number, f.received_at
        from fresh f
        where not exists (select from existing e
                          where e.account_sid = f.account_sid and e.phone_number_canonical = f.canonical)
        order by f.account_sid, f.canonical, f.received_at
        on conflict (account_sid, phone_number_canonical)
            do update set phone_number_canonical = excluded.phone_number_canonical
        returning id, account_sid, phone_number_canonical
    ), conversation as (
        select * from existing union all select * from created
    ), stored as (
        insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number,
            messaging_service_sid, message_content, media, delivery_status, language, language_confidence,
            raw_webhook_data, nul_removed, request_id, created_at)
        select f.id, c.id, 'inbound', f.twilio_sid, f.from_number, f.to_number, f.messaging_service_sid,
            f.message_content, f.media, 'received', f.language, f.language_confidence, f.raw_webhook_data,
            f.nul_removed, f.request_id, f.received_at
        from fresh f
        join conversation c on c.account_sid = f.account_sid and c.phone_number_canonical = f.canonical
        order by f.twilio_sid
        on conflict (twilio_sid) do nothing
        returning id, conversation_id, twilio_sid
    ), opted as (
        insert into sms_opt_out_events
            (id, conversation_id, action, source, words, our_number, evidence, created_at)
        select gen_random_uuid(), s.conversation_id, f.opt_action, f.opt_source, f.opt_words, f.to_number,
            f.twilio_sid, f.received_at
        from fresh f join stored s on s.twilio_sid = f.twilio_sid
        where f.opt_action is not null
    )
    select id, conversation_id, twilio_sid from stored;
end $$;
