-- Erases the next messages of an erasure after a position, the oldest first, and counts them in the audit. Returns the position
-- and the number of messages; it is done when there are none.
--
-- Messages are locked in the order of their ids, like everywhere, and marked. A trigger removes their content, or leaves that
-- to the statement that ends a send in flight (sms_empty_erased).
create or replace function sms_erase_messages(erasure uuid, after_at timestamptz, after_id uuid, max_number int,
    status_event text, failed_event text)
returns table (last_at timestamptz, last_id uuid, examined bigint) language plpgsql
-- A connection keeps plans that it made for short conversations.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    this sms_erasures;
    batch uuid[];
    before sms_message_state[];
    erased record;
    removed record;
    files bigint;
begin
    select * into this from sms_erasures e where e.id = erasure for no key update;
    select array_agg(b.id order by b.id), count(*), (array_agg(b.created_at order by b.created_at desc, b.id desc))[1],
        (array_agg(b.id order by b.created_at desc, b.id desc))[1]
    into batch, examined, last_at, last_id
    from (select m.id, m.created_at from sms_messages m
          where m.conversation_id = this.conversation_id and m.created_at <= this.up_to and m.erased_at is null
            and (m.created_at, m.id) > (after_at, after_id)
          order by m.created_at, m.id limit max_number) b;
    if examined > 0 then
        before := sms_message_states(batch);
        with marked as (
            update sms_messages m set erased_at = this.requested_at where m.id = any(batch) and m.erased_at is null
            returning m.id, m.error_code = 'content_erased' as is_canceled,
                m.claimed_at is not null or (m.delivery_status = 'unknown' and m.parked_at is null) as is_in_flight
        )
        select count(*) as messages, count(*) filter (where is_canceled) as canceled,
            count(*) filter (where is_in_flight) as in_flight, array_agg(id) as ids
        into erased from marked;
        removed := sms_erase_payloads(erased.ids, this.requested_at);
        files := sms_erase_media(erased.ids, this.requested_at);
        update sms_erasures e set counts = sms_add_counts(e.counts, jsonb_build_object(
            'messages', erased.messages, 'canceled', erased.canceled, 'in_flight', erased.in_flight,
            'media', files, 'webhooks', removed.webhooks, 'status_callbacks', removed.callbacks,
            'archived_rows', removed.archived))
        where e.id = erasure;
        perform sms_emit_status_events(before, status_event, failed_event, this.requested_at);
    end if;
    return next;
end $$;
