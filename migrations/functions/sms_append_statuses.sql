-- Appends callbacks to the history and returns the new ones, and those that find their message only now.
--
-- - input: one row per SID, status and code, because a batch may contain a callback twice;
-- - target: the message of each SID, with its status before the batch;
-- - appended: the new rows. A stored callback without a message gets its message.
create or replace function sms_append_statuses(
    ids uuid[], sids text[], words text[], codes text[], raw_data jsonb[], nuls_removed bool[], received timestamptz[],
    contradicted text[], contradicts_batch bool[], recipient_effects text[],
    target_sids text[], target_hints uuid[], target_ids uuid[], target_statuses text[], renewals timestamptz[])
returns table (twilio_sid text, message_id uuid, disagreeing_id uuid, contradicts bool, renewed_at timestamptz)
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
            returning e.message_id, e.twilio_sid, e.event_status, e.error_code, e.contradicts, e.created_at
        )
        select a.*, i.effect, t.hint, t.renewed_at
        from appended a join target t on t.sid = a.twilio_sid
        join input i on i.sid = a.twilio_sid and (i.event_status, i.error_code)
            is not distinct from (a.event_status, a.error_code)
    loop
        if appended.message_id is not null and appended.effect is not null then
            perform sms_apply_error_codes(array[appended.message_id], array[appended.twilio_sid],
                array[appended.error_code], array[appended.effect], appended.created_at);
        end if;
        twilio_sid := appended.twilio_sid;
        message_id := appended.message_id;
        disagreeing_id := case when appended.hint <> appended.message_id then appended.hint end;
        contradicts := appended.contradicts;
        renewed_at := appended.renewed_at;
        return next;
    end loop;
end $$;
