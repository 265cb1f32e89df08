-- Removes the raw webhooks and the raw status callbacks of messages. Lists those that an archive may have: they are gone, or
-- of an earlier month. The statements name ids, so that they open only partitions of these ids.
create or replace function sms_erase_payloads(
    message_ids uuid[], at timestamptz, out webhooks bigint, out callbacks bigint, out archived bigint)
language plpgsql as $$
declare
    callback_ids uuid[];
    stored_ids uuid[];
    this_month uuid := sms_first_id(date_trunc('month', at, 'UTC'));
begin
    select array_agg(c.event_id) into callback_ids
    from (select m.twilio_sid from sms_messages m where m.id = any(message_ids)
          union select a.twilio_sid from sms_send_attempts a where a.message_id = any(message_ids)) s
    join sms_callbacks c on c.packed_sid = sms_pack_sid(s.twilio_sid);
    stored_ids := array(select e.id from sms_message_status_events e where e.id = any(callback_ids));
    update sms_message_status_events e set raw_webhook_data = '{}'
    where e.id = any(stored_ids) and e.raw_webhook_data <> '{}';
    get diagnostics callbacks = row_count;

    stored_ids := stored_ids || array(select p.message_id from sms_message_payloads p where p.message_id = any(message_ids));
    delete from sms_message_payloads p where p.message_id = any(message_ids);
    get diagnostics webhooks = row_count;

    insert into sms_erased_archive_rows (table_name, row_id, erased_at)
    select 'sms_message_status_events', e.id, at from unnest(callback_ids) as e (id)
    where e.id < this_month or e.id <> all(stored_ids)
    union all
    select 'sms_message_payloads', m.id, at from sms_messages m
    where m.id = any(message_ids) and m.direction = 'inbound' and (m.id < this_month or m.id <> all(stored_ids))
    on conflict do nothing;
    get diagnostics archived = row_count;
end $$;
