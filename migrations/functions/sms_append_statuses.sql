-- Appends callbacks to the history and returns the new ones, and those that find their message only now.
--
-- - input: one row per SID, status and code, because a batch may contain a callback twice;
-- - target: the message of each SID, with its status before the batch;
-- - appended: the new callbacks. A stored one without a message gets its message;
-- - stored: the new raw callbacks.
-- recipient_effect, error_code and recorded_at are for sms_apply_error_codes.
create or replace function sms_append_statuses(
    ids uuid[], sids text[], words text[], codes text[], raw_data jsonb[], nuls_removed bool[], received timestamptz[],
    contradicted text[], contradicts_batch bool[], recipient_effects text[],
    target_sids text[], target_hints uuid[], target_ids uuid[], target_statuses text[], renewals timestamptz[])
returns table (twilio_sid text, message_id uuid, disagreeing_id uuid, contradicts bool, renewed_at timestamptz,
    recipient_effect text, error_code text, recorded_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
    appended record;
begin
    for appended in
        with input as (
            select distinct on (sid, event_status, error_code) *
            from unnest(ids, sids, words, codes, raw_data, nuls_removed, received, contradicted, contradicts_batch,
                        recipient_effects)
                with ordinality as t (id, sid, event_status, error_code, raw_webhook_data, nul_removed, received_at,
                                      contradicted, contradicts_batch, effect, position)
            order by sid, event_status, error_code, position
        ), target as (
            select * from unnest(target_sids, target_hints, target_ids, target_statuses, renewals)
                as t (sid, hint, message_id, delivery_status, renewed_at)
        ), appended as (
            insert into sms_callbacks as c (packed_sid, event_status, error_code, message_id, contradicts, event_id, created_at)
            select sms_pack_sid(i.sid), i.event_status, i.error_code, t.message_id,
                i.contradicts_batch or coalesce(t.delivery_status = any(string_to_array(i.contradicted, ',')), false),
                i.id, i.received_at
            from input i join target t on t.sid = i.sid
            order by i.sid, i.event_status, i.error_code
            on conflict (packed_sid, event_status, error_code) do update
                set message_id = excluded.message_id, contradicts = c.contradicts or excluded.contradicts
                where c.message_id is null and excluded.message_id is not null
            returning c.*
        ), changed as (
            select a.message_id, a.contradicts, a.created_at, a.event_id, i.*, t.hint, t.renewed_at
            from appended a join input i on sms_pack_sid(i.sid) = a.packed_sid
                and (i.event_status, i.error_code) is not distinct from (a.event_status, a.error_code)
            join target t on t.sid = i.sid
        ), stored as (
            insert into sms_message_status_events (id, message_id, twilio_sid, event_status, error_code, contradicts,
                raw_webhook_data, nul_removed, created_at)
            select id, message_id, sid, event_status, error_code, contradicts, raw_webhook_data, nul_removed, created_at
            from changed where event_id = id
        )
        select * from changed loop
        if appended.event_id <> appended.id then
            -- Planned for this id, so that it opens one partition.
            execute 'update sms_message_status_events set message_id = $2, contradicts = $3 where id = $1'
            using appended.event_id, appended.message_id, appended.contradicts;
        end if;
        select appended.sid, appended.message_id, appended.contradicts, appended.renewed_at,
            case when appended.hint <> appended.message_id then appended.hint end,
            appended.effect, appended.error_code, appended.created_at
        into twilio_sid, message_id, contradicts, renewed_at, disagreeing_id, recipient_effect, error_code, recorded_at;
        return next;
    end loop;
end $$;
