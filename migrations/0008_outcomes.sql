-- What becomes of sends: attempts own Twilio's ids, what is not known is resolved, what failed for a moment is sent anew.

-- A message may be created at Twilio more than once, and each create has an id of its own: the message shows the latest,
-- its attempts hold all of them. Where a callback told two attempts at once, the later one keeps the id.
update sms_send_attempts a set twilio_sid = null
where exists (select from sms_send_attempts later
              where later.twilio_sid = a.twilio_sid and (later.message_id, later.number) > (a.message_id, a.number));
create unique index sms_send_attempts_twilio_sid on sms_send_attempts (twilio_sid);

-- When a listing of Twilio's first did not have what this attempt may have made.
alter table sms_send_attempts add column absent_since timestamptz;

alter table sms_messages
    -- When Twilio is asked next what became of it; meaningful while unknown.
    add column resolve_at timestamptz,
    -- Since when it is left to a person to say what became of it.
    add column parked_at timestamptz;
create index sms_messages_unresolved on sms_messages (resolve_at nulls first)
    where delivery_status = 'unknown' and parked_at is null;
-- What an operator looks through: failures by code and time, and what is not known.
create index sms_messages_unsettled on sms_messages (delivery_status, created_at)
    where direction = 'outbound' and delivery_status in ('unknown', 'failed', 'undelivered');

-- What was handed to Twilio, and has not been sent as far as we know: a reconciliation asks for each.
create index sms_messages_not_sent_yet on sms_messages (created_at)
    where direction = 'outbound' and delivery_status in ('queued', 'sending');

-- Since when the carrier blocks messages to this number (30004); gone again once one is delivered.
alter table sms_conversations add column carrier_blocked_at timestamptz;

-- Where a reconciliation that ran out of time goes on, by the window that it works through.
create table twilio_reconciliations (
    since       timestamptz not null,
    until       timestamptz not null,
    -- Twilio's address of the next page.
    next_page   text not null,
    updated_at  timestamptz not null,
    primary key (since, until)
);

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
create function sms_record_statuses(
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
                error_code = case when moves or held.delivery_status in ('pending', 'unknown') then effect.code
                                  else held.error_code end,
                parked_at = null
            where m.id = held.id;
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

-- Makes sure that a create which Twilio speaks of has its attempt: one that holds its SID already, or the latest of those
-- whose outcome is open, or that seemed not to have been processed, or a new one, as after a restore of older data.
create function sms_witness_create(of_message uuid, sid text, at timestamptz) returns void language plpgsql as $$
begin
    if exists (select from sms_send_attempts a where a.twilio_sid = sid) then
        return;
    end if;
    update sms_send_attempts a
    set outcome = 'accepted', twilio_sid = sid, finished_at = coalesce(a.finished_at, at),
        detail = 'told by the status callback'
    where a.id = (select o.id from sms_send_attempts o
                  where o.message_id = of_message and o.twilio_sid is null and o.outcome is distinct from 'rejected'
                  order by coalesce(o.outcome, 'unknown') = 'unknown' desc, o.number desc limit 1);
    if not found then
        insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, detail, started_at, finished_at)
        select gen_random_uuid(), of_message, 1 + coalesce(max(a.number), 0), 'accepted', sid,
            'told by the status callback', at, at
        from sms_send_attempts a where a.message_id = of_message;
    end if;
end $$;
