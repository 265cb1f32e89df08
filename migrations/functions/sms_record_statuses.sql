-- Records a batch of status callbacks. Returns those that were not recorded before, or had not found their message.
--
-- The first ten arrays are the callbacks; recipient_effects are explained in sms_apply_error_codes. The effects are what
-- all callbacks of one SID amount to, computed by the domain: effect_replaces are the statuses that a message may leave
-- for the effect's; effect_renewals the seconds after which a failure with its code is created again, for the first time,
-- the second and so on. The events are explained in sms_emit_status_events.
--
-- Callbacks of erased messages are stored without content. All messages are locked first, in the order of their ids, so that
-- concurrent batches do not deadlock and decisions hold until the commit. Events are written last.
create or replace function sms_record_statuses(
    ids uuid[], sids text[], words text[], codes text[], raw_data jsonb[], nuls_removed bool[],
    received timestamptz[], contradicted text[], contradicts_batch bool[], recipient_effects text[],
    effect_sids text[], effect_hints uuid[], effect_statuses text[], effect_codes text[], effect_replaces text[],
    effect_renewals text[], max_age_seconds float8, at timestamptz,
    status_event text, failed_event text, opted_out_event text, opted_out_data text)
returns table (twilio_sid text, message_id uuid, disagreeing_id uuid, contradicts bool, renewed_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
    before sms_message_state[];
    target record;
    callback record;
    coded_ids uuid[] := '{}';
    evidence text[] := '{}';
    coded text[] := '{}';
    effects text[] := '{}';
    ats timestamptz[] := '{}';
    opted record;
begin
    before := sms_message_states(array(
        select s.message_id from unnest(effect_sids) as t (sid) join sms_message_sids s on s.packed_sid = sms_pack_sid(t.sid)
        union select unnest(effect_hints)));
    select * into target from sms_apply_effects(
        effect_sids, effect_hints, effect_statuses, effect_codes, effect_replaces, effect_renewals, max_age_seconds, at);
    for callback in
        select * from sms_append_statuses(
            ids, sids, words, codes, raw_data, nuls_removed, received, contradicted, contradicts_batch, recipient_effects,
            effect_sids, effect_hints, target.found_ids, target.found_statuses, target.renewals)
    loop
        if callback.message_id is not null and callback.recipient_effect is not null then
            coded_ids := coded_ids || callback.message_id;
            evidence := evidence || callback.twilio_sid;
            coded := coded || callback.error_code;
            effects := effects || callback.recipient_effect;
            ats := ats || callback.recorded_at;
        end if;
        select callback.twilio_sid, callback.message_id, callback.disagreeing_id, callback.contradicts, callback.renewed_at
        into twilio_sid, message_id, disagreeing_id, contradicts, renewed_at;
        return next;
    end loop;
    if target.erased_ids <> '{}' then
        perform sms_erase_payloads(target.erased_ids, at);
    end if;
    select null::uuid[] as opted_conversations, null::uuid[] as opted_messages into opted;
    if coded_ids <> '{}' then
        select * into opted from sms_apply_error_codes(coded_ids, evidence, coded, effects, ats);
    end if;
    perform sms_emit_status_events(
        before, status_event, failed_event, at, opted_out_event, opted_out_data,
        opted.opted_conversations, opted.opted_messages);
end $$;
