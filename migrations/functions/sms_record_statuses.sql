-- Records a batch of status callbacks. Returns those that were not recorded before, or had not found their message.
--
-- The first ten arrays are the callbacks; recipient_effects are explained in sms_apply_error_codes. The effects are what
-- all callbacks of one SID amount to, computed by the domain: effect_replaces are the statuses that a message may leave
-- for the effect's; effect_renewals the seconds after which a failure with its code is created again, for the first time,
-- the second and so on.
--
-- Callbacks of erased messages are stored without content. All messages are locked first, in the order of their ids, so that
-- concurrent batches do not deadlock and decisions hold until the commit.
create or replace function sms_record_statuses(
    ids uuid[], sids text[], words text[], codes text[], raw_data jsonb[], nuls_removed bool[],
    received timestamptz[], contradicted text[], contradicts_batch bool[], recipient_effects text[],
    effect_sids text[], effect_hints uuid[], effect_statuses text[], effect_codes text[], effect_replaces text[],
    effect_renewals text[], max_age_seconds float8, at timestamptz)
returns table (twilio_sid text, message_id uuid, disagreeing_id uuid, contradicts bool, renewed_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
    effect record;
    target record;
    held sms_messages;
    moves bool;
    renewal timestamptz;
    found_ids uuid[] := '{}';
    found_statuses text[] := '{}';
    renewals timestamptz[] := '{}';
    erased_ids uuid[] := '{}';
begin
    perform from sms_messages m
    where m.id in (select s.message_id from unnest(effect_sids) as t (sid)
                   join sms_message_sids s on s.packed_sid = sms_pack_sid(t.sid)
                   union select unnest(effect_hints))
    order by m.id for no key update;

    for effect in
        select * from unnest(effect_sids, effect_hints, effect_statuses, effect_codes, effect_replaces, effect_renewals)
            as t (sid, hint, status, code, replaces, renewals)
    loop
        select * into target from sms_find_create(effect.sid, effect.hint, at);
        select * into held from sms_messages m where m.id = target.message_id;
        moves := coalesce(held.delivery_status = any(string_to_array(effect.replaces, ',')), false);
        renewal := null;
        if target.is_latest and moves and effect.renewals <> '' then
            renewal := sms_renewal_time(held, effect.sid, effect.renewals, max_age_seconds, at);
        end if;
        perform sms_apply_status(held, effect.sid, effect.status, effect.code, target.is_latest, moves, renewal);

        found_ids := found_ids || held.id;
        -- An older create contradicts nothing unless it was delivered.
        found_statuses := found_statuses ||
            case when target.is_latest or effect.status in ('delivered', 'read') then held.delivery_status end;
        renewals := renewals || renewal;
        if held.erased_at is not null then
            erased_ids := erased_ids || held.id;
        end if;
    end loop;

    return query
    select * from sms_append_statuses(
        ids, sids, words, codes, raw_data, nuls_removed, received, contradicted, contradicts_batch, recipient_effects,
        effect_sids, effect_hints, found_ids, found_statuses, renewals);
    if erased_ids <> '{}' then
        perform sms_erase_payloads(erased_ids, at);
    end if;
end $$;
