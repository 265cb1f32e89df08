-- What Twilio's webhooks may not do to messages of ours.
--
-- The first error code of a message stays, whichever callback brings it: sms_record_statuses is restated.
-- A SID of one of our creates is never that of an incoming message, also when the message has a later SID by now.

-- Records a batch of status callbacks, and returns those that were not recorded before, or had not found their message.
--
-- A function, so that a connection plans its statements once (common/docs/decisions/0008). The callbacks come in the first ten
-- arrays; what those of one SID amount to, folded by the domain, in the effects'. `effect_replaces` are the statuses that
-- a message may leave for the effect's; `effect_renewals` the seconds after which a failure of its code is created anew,
-- for the first time, the second and so on.
--
-- All messages concerned are locked first, in the order of their ids, so that batches don't wait for each other in a
-- circle and what is decided below holds until the end. Then, for each SID, the message is found:
-- - by its SID: the callback is about its latest create, and moves it forward;
-- - else by an attempt's: an older create. It only goes into the history, unless it says that the handset has the text
--   after all: that ends whatever else was planned;
-- - else by our own id in the callback URL: a create whose answer was lost. The attempt whose outcome is open gets the
--   SID; if the message has none, it gets it too, and with that counts as queued at least, whatever the callback says,
--   since what Twilio knows must never be sent again blindly.
--
-- A failure that may pass is no end: the message waits for its next create, without a SID, as one that was never handed
-- over; its attempts know better.
--
-- The first error code of a create stays, whichever callback brings it: one that comes after the final status fills in
-- the code that was missing. It does not make a final failure one that may pass.
create or replace function sms_record_statuses(
    ids uuid[], sids text[], words text[], codes text[], raw_data jsonb[], nuls_removed bool[],
    received timestamptz[], contradicted text[], contradicts_batch bool[],
    effect_sids text[], effect_hints uuid[], effect_statuses text[], effect_codes text[], effect_replaces text[],
    effect_renewals text[], max_age_seconds float8, at timestamptz)
returns table (twilio_sid text, message_id uuid, disagreeing_id uuid, contradicts bool, renewed_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
    effect record;
    held sms_messages;
    of_attempt uuid;
    is_latest bool;
    moves bool;
    renewal timestamptz;
    found_ids uuid[] := '{}';
    found_statuses text[] := '{}';
    renewals timestamptz[] := '{}';
begin
    perform from sms_messages m
    where m.id in (select s.id from sms_messages s where s.twilio_sid = any(effect_sids)
                   union select a.message_id from sms_send_attempts a where a.twilio_sid = any(effect_sids)
                   union select unnest(effect_hints))
    order by m.id for no key update;

    for effect in
        select * from unnest(effect_sids, effect_hints, effect_statuses, effect_codes, effect_replaces, effect_renewals)
            as t (sid, hint, status, code, replaces, renewals)
    loop
        renewal := null;
        of_attempt := null;
        is_latest := true;
        select * into held from sms_messages m where m.twilio_sid = effect.sid;
        if held.id is null then
            select a.id, a.message_id into of_attempt, held.id from sms_send_attempts a where a.twilio_sid = effect.sid;
            select * into held from sms_messages m
            where m.id = coalesce(held.id, effect.hint) and m.direction = 'outbound';
            -- A SID that only our own id leads to belongs to a create of which nothing was heard before.
            is_latest := held.twilio_sid is null and of_attempt is null;
            if held.id is not null and of_attempt is null then
                perform sms_witness_create(held.id, effect.sid, at);
            end if;
        end if;
        moves := coalesce(held.delivery_status = any(string_to_array(effect.replaces, ',')), false);
        found_ids := found_ids || held.id;
        -- What an older create came to contradicts nothing, unless it says that the text has arrived.
        found_statuses := found_statuses ||
            case when is_latest or effect.status in ('delivered', 'read') then held.delivery_status end;

        if is_latest and moves and effect.renewals <> '' then
            if held.twilio_sid = effect.sid then
                perform sms_witness_create(held.id, effect.sid, at);
            end if;
            select at + make_interval(secs => (string_to_array(effect.renewals, ','))[count(*)::int]::float8) into renewal
            from sms_send_attempts a where a.message_id = held.id and a.twilio_sid is not null;
            if renewal >= coalesce(held.send_before,
                                   coalesce(held.send_at, held.created_at) + make_interval(secs => max_age_seconds)) then
                renewal := null;
            end if;
        end if;
        renewals := renewals || renewal;

        if held.id is null then
            continue;
        elsif renewal is not null then
            update sms_messages m
            set twilio_sid = null, delivery_status = 'pending', error_code = effect.code, next_attempt_at = renewal,
                enqueued_at = null, parked_at = null
            where m.id = held.id;
        elsif is_latest and (moves or held.twilio_sid is null) then
            update sms_messages m
            set twilio_sid = effect.sid,
                delivery_status = case when moves then effect.status
                                       when held.delivery_status in ('pending', 'unknown') then 'queued'
                                       else held.delivery_status end,
                error_code = case when moves and held.twilio_sid = effect.sid
                                       and effect.status not in ('delivered', 'read')
                                       then coalesce(held.error_code, effect.code)
                                  when moves or held.delivery_status in ('pending', 'unknown') then effect.code
                                  else held.error_code end,
                parked_at = null
            where m.id = held.id;
        elsif is_latest and held.twilio_sid = effect.sid and held.error_code is null
              and held.delivery_status in ('failed', 'undelivered') then
            update sms_messages m set error_code = effect.code where m.id = held.id and effect.code is not null;
        elsif not is_latest and moves and effect.status in ('delivered', 'read') then
            update sms_messages m
            set twilio_sid = case when held.claimed_at is null then coalesce(held.twilio_sid, effect.sid)
                                  else held.twilio_sid end,
                delivery_status = effect.status, error_code = null, parked_at = null
            where m.id = held.id;
        end if;

        if effect.code = '30004' then
            update sms_conversations c set carrier_blocked_at = at
            where c.id = held.conversation_id and c.carrier_blocked_at is null;
        elsif effect.status = 'delivered' and moves then
            update sms_conversations c set carrier_blocked_at = null
            where c.id = held.conversation_id and c.carrier_blocked_at is not null;
        end if;
    end loop;

    return query
    with input as (
        select distinct on (sid, event_status, error_code) *
        from unnest(ids, sids, words, codes, raw_data, nuls_removed, received, contradicted, contradicts_batch)
            with ordinality as t (id, sid, event_status, error_code, raw_webhook_data, nul_removed, received_at,
                                  contradicted, contradicts_batch, position)
        order by sid, event_status, error_code, position
    ), target as (
        select * from unnest(effect_sids, effect_hints, found_ids, found_statuses, renewals)
            as t (sid, hint, message_id, delivery_status, renewed_at)
    ), appended as (
        insert into sms_message_status_events as e (id, message_id, twilio_sid, event_status, error_code, contradicts,
            raw_webhook_data, nul_removed, created_at)
        select i.id, t.message_id, i.sid, i.event_status, i.error_code,
            i.contradicts_batch or coalesce(t.delivery_status = any(string_to_array(i.contradicted, ',')), false),
            i.raw_webhook_data, i.nul_removed, i.received_at
        from input i join target t on t.sid = i.sid
        order by i.sid, i.event_status, i.error_code
        on conflict (twilio_sid, event_status, error_code) do update
            set message_id = excluded.message_id, contradicts = e.contradicts or excluded.contradicts
            where e.message_id is null and excluded.message_id is not null
        returning e.message_id, e.twilio_sid, e.error_code, e.contradicts, e.created_at
    ), opted as (
        insert into sms_opt_out_events (id, conversation_id, action, source, words, evidence, created_at)
        select gen_random_uuid(), m.conversation_id, 'opt_out', 'twilio_error', '21610', a.twilio_sid, min(a.created_at)
        from appended a join sms_messages m on m.id = a.message_id
        where a.error_code = '21610'
        group by m.conversation_id, a.twilio_sid
        on conflict do nothing
    )
    select a.twilio_sid, a.message_id, case when t.hint <> a.message_id then t.hint end, a.contradicts, t.renewed_at
    from appended a join target t on t.sid = a.twilio_sid;
end $$;

create function sms_refuse_own_sid() returns trigger language plpgsql as $$
begin
    if exists (select from sms_send_attempts a where a.twilio_sid = new.twilio_sid) then
        return null;
    end if;
    return new;
end $$;

create trigger sms_messages_refuse_own_sid before insert on sms_messages
    for each row when (new.direction = 'inbound') execute function sms_refuse_own_sid();
