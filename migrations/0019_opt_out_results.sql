-- Whether a message from a handset refuses messages: opt_out, unsure or none. Null for what we send, and for older messages.
alter table sms_messages add column opt_out text;
-- Not valid: new rows are checked all the same, and nothing reads the whole table under a lock. Older rows are null.
alter table sms_messages add constraint sms_messages_opt_out_check
    check (opt_out is null or (direction = 'inbound' and opt_out in ('opt_out', 'unsure', 'none'))) not valid;

-- As sms_store_inbound_2 (0009), with that result. The older one goes with a later migration.
create function sms_store_inbound_3(
    ids uuid[], conversation_ids uuid[], account_sids text[], canonicals text[], twilio_sids text[],
    from_numbers text[], to_numbers text[], service_sids text[], contents text[], media_lists jsonb[],
    raw_data jsonb[], nuls_removed bool[], languages text[], language_confidences float8[], language_strengths int2[],
    opt_outs text[], opt_actions text[], opt_sources text[], opt_words text[], request_ids text[], received timestamptz[])
returns table (message_id uuid, conversation_id uuid, twilio_sid text, previous_language text, chosen_language text)
language plpgsql as $$
#variable_conflict use_column
begin
    return query
    with input as (
        select distinct on (twilio_sid) *
        from unnest(ids, conversation_ids, account_sids, canonicals, twilio_sids, from_numbers, to_numbers,
                    service_sids, contents, media_lists, raw_data, nuls_removed, languages, language_confidences,
                    language_strengths, opt_outs, opt_actions, opt_sources, opt_words, request_ids, received)
            as t (id, conversation_id, account_sid, canonical, twilio_sid, from_number, to_number,
                  messaging_service_sid, message_content, media, raw_webhook_data, nul_removed, language,
                  language_confidence, strength, opt_out, opt_action, opt_source, opt_words, request_id, received_at)
        order by twilio_sid, received_at
    ), fresh as (
        select * from input i where not exists (select from sms_messages m where m.twilio_sid = i.twilio_sid)
    ), existing as (
        select c.id, c.account_sid, c.phone_number_canonical, c.language_detected, c.language_strength, c.language_own,
            c.language_at, c.language_evidence
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
        returning id, account_sid, phone_number_canonical, language_detected, language_strength, language_own,
            language_at, language_evidence
    ), conversation as (
        select * from existing union all select * from created
    ), greatest_of_batch as (
        select distinct on (account_sid, canonical) account_sid, canonical, language, strength, received_at, twilio_sid
        from fresh where strength > 0
        order by account_sid, canonical, strength desc, received_at desc, twilio_sid desc
    ), stored as (
        insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number,
            messaging_service_sid, message_content, media, delivery_status, language, language_confidence, language_strength,
            opt_out, raw_webhook_data, nul_removed, request_id, created_at)
        select f.id, c.id, 'inbound', f.twilio_sid, f.from_number, f.to_number, f.messaging_service_sid,
            f.message_content, f.media, 'received', f.language, f.language_confidence, f.strength, f.opt_out,
            f.raw_webhook_data, f.nul_removed, f.request_id, f.received_at
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
    select s.id, s.conversation_id, s.twilio_sid, c.language_detected,
        case when (g.strength, true, g.received_at, g.twilio_sid)
                  > (c.language_strength, c.language_own, c.language_at, c.language_evidence)
             then g.language else c.language_detected end
    from stored s
    join conversation c on c.id = s.conversation_id
    left join greatest_of_batch g on g.account_sid = c.account_sid and g.canonical = c.phone_number_canonical;
end $$;

-- As sms_conversation_page_2 (0012), with that result. The older one goes with a later migration.
create function sms_conversation_page_3(
    account text, numbers text[], before timestamptz, before_id uuid, skip bigint, take bigint)
returns table (
    conversation_id uuid, phone_number_canonical text, phone_number_original text, tenant_id text, workflow_type text,
    workflow_id text, language_detected text, conversation_language_confidence float8, opted_out_at timestamptz,
    last_message_at timestamptz, message_count bigint,
    id uuid, direction text, from_number text, to_number text, message_content text, media jsonb, twilio_sid text,
    delivery_status text, error_code text, language text, language_confidence float8, created_at timestamptz,
    tenant_candidates jsonb, carrier_blocked_at timestamptz, conversation_status text, time_zone text, opt_out text)
language plpgsql stable as $$
#variable_conflict use_column
begin
    return query
    with conversation as (
        select c.* from unnest(numbers) with ordinality as v (number, position)
        join sms_conversations c on c.account_sid = account and c.phone_number_canonical = v.number
        order by v.position limit 1
    )
    select c.id, c.phone_number_canonical, c.phone_number_original, c.tenant_id, c.workflow_type, c.workflow_id,
        c.language_detected, c.language_confidence, c.opted_out_at, c.last_message_at, c.message_count,
        m.id, m.direction, m.from_number, m.to_number, m.message_content, m.media,
        coalesce(m.twilio_sid, (select a.twilio_sid from sms_send_attempts a
                                where a.message_id = m.id and a.twilio_sid is not null order by a.number desc limit 1)),
        m.delivery_status, m.error_code, m.language, m.language_confidence, m.created_at,
        c.tenant_candidates, c.carrier_blocked_at, c.conversation_status, c.time_zone, m.opt_out
    from conversation c
    left join lateral (
        select * from sms_messages m
        where m.conversation_id = c.id
          and (m.created_at, m.id) < (coalesce(before, 'infinity'::timestamptz),
                                      coalesce(before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
        order by m.created_at desc, m.id desc
        offset skip limit take
    ) m on true
    order by m.created_at desc, m.id desc;
end $$;
