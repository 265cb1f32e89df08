-- Applies the effects of a batch of status callbacks (sms_record_statuses) to their messages, SID by SID. Returns for each
-- effect its message, the status that its callbacks may contradict, and when the message is created again; and the erased
-- messages.
create or replace function sms_apply_effects(
    effect_sids text[], effect_hints uuid[], effect_statuses text[], effect_codes text[], effect_replaces text[],
    effect_renewals text[], max_age_seconds float8, at timestamptz,
    out found_ids uuid[], out found_statuses text[], out renewals timestamptz[], out erased_ids uuid[])
language plpgsql as $$
declare
    effect record;
    target record;
    held sms_messages;
    moves bool;
    renewal timestamptz;
begin
    erased_ids := '{}';
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
end $$;
