-- Whose number it is, as the Monitor says, and what a conversation's language rests on.
alter table sms_conversations
    -- When the Monitor last said that the number is tenant_id's.
    add column tenant_identified_at timestamptz,
    -- The tenants that claim the number, when there are several; tenant_id is null then.
    add column tenant_candidates    jsonb,
    -- Since when the Monitor no longer knows the number of a tenant: one such answer may be a mistake.
    add column tenant_missing_since timestamptz,
    -- When the Monitor is to be asked next. Null: it never was, and is to be.
    add column tenant_next_check_at timestamptz,
    -- How often in a row it knew nobody, and how often in a row it gave no answer: both stretch the time between two.
    add column tenant_vain_checks   integer not null default 0,
    add column tenant_failed_checks integer not null default 0,
    -- The evidence for language_detected, as common/src/domain/language/decision.rs orders it: strength (0: none,
    -- 1 weak, 2 fair, 3 strong), the number's own or carried over from the tenant, its time, what says so.
    add column language_strength    smallint not null default 0,
    add column language_own         boolean not null default false,
    add column language_at          timestamptz not null default '-infinity',
    add column language_evidence    text not null default '';

-- What the schedule looks for. Only phone numbers are anybody's.
create index sms_conversations_tenant_due on sms_conversations (tenant_next_check_at)
    where phone_number_canonical like '+%';
create index sms_conversations_of_tenant on sms_conversations (tenant_id) where tenant_id is not null;

-- What is known of a tenant beyond their numbers: the language that their profile holds, as far as we know, the last one
-- that we decided for, and the one that the profile is still to be told. preference_at is when we found the preference
-- there, and null if we told it.
create table sms_tenants (
    tenant_id           text primary key,
    language_preference text check (language_preference in ('en', 'es', 'pt')),
    preference_at       timestamptz,
    language_decided    text check (language_decided in ('en', 'es', 'pt')),
    push_language       text check (push_language in ('en', 'es', 'pt')),
    push_due_at         timestamptz,
    push_tries          integer not null default 0
);

create index sms_tenants_push_due on sms_tenants (push_due_at) where push_language is not null;

-- A tenant's numbers, and when each was last used: a later send goes to the latest. A number is one tenant's at most.
create table sms_tenant_numbers (
    conversation_id uuid primary key references sms_conversations (id),
    tenant_id       text not null,
    last_used_at    timestamptz not null
);

create index sms_tenant_numbers_of_tenant on sms_tenant_numbers (tenant_id, last_used_at desc);

-- How much a message says about its conversation's language, as above; 0 for nothing.
alter table sms_messages add column language_strength smallint not null default 0;

-- As before, keeps a conversation's count and latest activity with what is truly inserted (decision 5), and now its
-- language as well, in the same update of its row:
-- - fresh: what was inserted, by conversation, in the order of their ids, in which all are locked;
-- - evidence: the greatest of each conversation's new messages;
-- - prior: the conversations that hold less, which whoever stores inbound messages has locked already;
-- - changed: an event for each that changes its language.
create or replace function sms_conversation_activity() returns trigger language plpgsql as $$
begin
    with fresh as (
        select conversation_id, count(*) as messages, max(created_at) as latest
        from inserted group by conversation_id order by conversation_id
    ), evidence as (
        select distinct on (conversation_id) conversation_id, language, language_confidence, language_strength,
            created_at, twilio_sid, request_id
        from inserted where language_strength > 0
        order by conversation_id, language_strength desc, created_at desc, twilio_sid desc
    ), prior as (
        select c.tenant_id, c.language_detected as previous, e.*
        from evidence e join sms_conversations c on c.id = e.conversation_id
        where (e.language_strength, true, e.created_at, e.twilio_sid)
              > (c.language_strength, c.language_own, c.language_at, c.language_evidence)
        for no key update of c
    ), changed as (
        insert into sms_events (id, event_type, conversation_id, data, created_at)
        select gen_random_uuid(), 'conversation.language_changed', p.conversation_id,
            jsonb_build_object('language', p.language, 'confidence', p.language_confidence, 'previous', p.previous,
                               'source', 'message', 'tenant_id', p.tenant_id, 'request_id', p.request_id),
            -- Now rather than when the message came: who reads events by time must not miss one.
            now()
        from prior p where p.language <> p.previous
    )
    update sms_conversations c
    set message_count = c.message_count + f.messages,
        last_message_at = greatest(c.last_message_at, f.latest),
        language_detected = coalesce(p.language, c.language_detected),
        language_confidence = coalesce(p.language_confidence, c.language_confidence),
        language_strength = coalesce(p.language_strength, c.language_strength),
        language_own = c.language_own or p.conversation_id is not null,
        language_at = coalesce(p.created_at, c.language_at),
        language_evidence = coalesce(p.twilio_sid, c.language_evidence)
    from fresh f left join prior p on p.conversation_id = f.conversation_id
    where c.id = f.conversation_id;
    return null;
end $$;

-- Stores a batch of inbound messages as sms_store_inbound does (0005 explains its steps), with what each says about its
-- conversation's language, which the trigger above makes use of. Returns the messages that were not stored before, each
-- with the language that its conversation held before the batch and holds now (greatest_of_batch).
create function sms_store_inbound_2(
    ids uuid[], conversation_ids uuid[], account_sids text[], canonicals text[], twilio_sids text[],
    from_numbers text[], to_numbers text[], service_sids text[], contents text[], media_lists jsonb[],
    raw_data jsonb[], nuls_removed bool[], languages text[], language_confidences float8[], language_strengths int2[],
    opt_actions text[], opt_sources text[], opt_words text[], request_ids text[], received timestamptz[])
returns table (message_id uuid, conversation_id uuid, twilio_sid text, previous_language text, chosen_language text)
language plpgsql as $$
#variable_conflict use_column
begin
    return query
    with input as (
        select distinct on (twilio_sid) *
        from unnest(ids, conversation_ids, account_sids, canonicals, twilio_sids, from_numbers, to_numbers,
                    service_sids, contents, media_lists, raw_data, nuls_removed, languages, language_confidences,
                    language_strengths, opt_actions, opt_sources, opt_words, request_ids, received)
            as t (id, conversation_id, account_sid, canonical, twilio_sid, from_number, to_number,
                  messaging_service_sid, message_content, media, raw_webhook_data, nul_removed, language,
                  language_confidence, strength, opt_action, opt_source, opt_words, request_id, received_at)
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
            raw_webhook_data, nul_removed, request_id, created_at)
        select f.id, c.id, 'inbound', f.twilio_sid, f.from_number, f.to_number, f.messaging_service_sid,
            f.message_content, f.media, 'received', f.language, f.language_confidence, f.strength, f.raw_webhook_data,
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
    select s.id, s.conversation_id, s.twilio_sid, c.language_detected,
        case when (g.strength, true, g.received_at, g.twilio_sid)
                  > (c.language_strength, c.language_own, c.language_at, c.language_evidence)
             then g.language else c.language_detected end
    from stored s
    join conversation c on c.id = s.conversation_id
    left join greatest_of_batch g on g.account_sid = c.account_sid and g.canonical = c.phone_number_canonical;
end $$;
