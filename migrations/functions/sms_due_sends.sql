-- Returns and locks the first due messages of a sender and priority. Locked rows are skipped: another function is changing
-- them, and the sender's lock must not wait for that.
--
-- Messages of a batch that is not running leave the queue (sms_paused_until), at most 50 times max_number per call. The batch is
-- locked for that: a resumption either comes before or finds them.
create or replace function sms_due_sends(
    of_sender text, of_priority text, allowed uuid[], now_at timestamptz, max_number int)
returns table (message_id uuid, segments int, due_at timestamptz, opted_out bool, send_before timestamptz,
    wanted_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
    stopped uuid[];
    is_stopped bool;
    is_found bool := false;
begin
    for page in 1..50 loop
        stopped := '{}';
        for message_id, segments, due_at, opted_out, send_before, wanted_at, is_stopped in
            select m.id, coalesce(m.segments, 1), m.next_attempt_at,
                sms_refuses(
                    case when not (m.is_clarification and sms_may_clarify(m.in_reply_to)) then c.opted_out_at end,
                    c.opted_out_scopes, coalesce(m.workflow_type, c.workflow_type), m.purpose),
                m.send_before, coalesce(m.send_at, m.created_at), b.state <> 'running'
            from (
                select * from sms_messages m
                where m.sender = of_sender and m.priority = of_priority
                  and m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
                  and m.next_attempt_at <= now_at and (allowed is null or m.id = any(allowed))
                order by m.next_attempt_at limit max_number
                for no key update skip locked
            ) m
            join sms_conversations c on c.id = m.conversation_id
            left join sms_batches b on b.id = m.batch_id
            order by m.next_attempt_at
        loop
            if is_stopped then
                stopped := stopped || message_id;
            else
                is_found := true;
                return next;
            end if;
        end loop;
        exit when cardinality(stopped) = 0;
        perform from sms_batches b
        where b.id in (select m.batch_id from unnest(stopped) as t (id) join sms_messages m on m.id = t.id)
        order by b.id for no key update;
        update sms_messages m set next_attempt_at = sms_paused_until()
        from unnest(stopped) as t (id), sms_batches b
        where m.id = t.id and b.id = m.batch_id and b.state <> 'running';
        exit when is_found;
    end loop;
end $$;
