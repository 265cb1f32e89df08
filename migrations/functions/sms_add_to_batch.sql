-- Counts new pending messages in a batch, which is created if it does not exist. A batch without messages is complete at once.
create or replace function sms_add_to_batch(batch uuid, new_messages int, new_segments bigint, at timestamptz)
returns void language plpgsql as $$
begin
    insert into sms_batches as b (id, total, segments, created_at, changed_at)
    values (batch, new_messages, new_segments, at, at)
    on conflict (id) do update
        set total = b.total + excluded.total, segments = b.segments + excluded.segments, changed_at = at,
            completed_at = case when new_messages = 0 then b.completed_at end;
    insert into sms_batch_counts as c (batch_id, status, messages) values (batch, 'pending', new_messages)
    on conflict (batch_id, status) do update set messages = c.messages + excluded.messages;
    perform sms_complete_batches(array[batch], at);
end $$;
