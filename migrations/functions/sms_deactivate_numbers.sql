-- Marks the conversations of numbers that were deactivated on a day, and writes an event for each. Returns how many it
-- marked. A number may be given several times, and a list may be read again: a marked conversation stays as it is.
--
-- A number that wrote to us or was opted in after the day, in UTC, is in use again and stays active. Later messages and
-- opt-ins clear the mark by the same rule (sms_conversation_activity, sms_conversation_opt_out).
create or replace function sms_deactivate_numbers(
    account text, numbers text[], day date, event_type text, event_data text, at timestamptz)
returns bigint language plpgsql
-- A connection keeps plans that it made when there were few conversations.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    midnight timestamptz := day::timestamp at time zone 'UTC';
    day_after timestamptz := midnight + interval '24 hours';
    known uuid[];
    marked uuid[];
begin
    -- "offset 0" makes Postgres look up one number after the other. It would read all conversations if it knows of few.
    known := array(
        select c.id from unnest(numbers) as n (number)
        cross join lateral (
            select k.id from sms_conversations k
            where k.account_sid = account and k.phone_number_canonical = n.number and k.deactivated_at is null
            offset 0
        ) c);
    if cardinality(known) = 0 then
        return 0;
    end if;
    perform from sms_conversations c where c.id = any(known) order by c.id for no key update;

    -- A new statement, whose snapshot includes what was committed while the locks were waited for.
    with changed as (
        update sms_conversations c set deactivated_at = midnight
        where c.id = any(known) and c.deactivated_at is null
          and not exists (select from sms_messages m where m.conversation_id = c.id and m.direction = 'inbound'
                          and m.created_at >= day_after)
          and not exists (select from sms_opt_out_events o where o.conversation_id = c.id and o.action = 'opt_in'
                          and o.created_at >= day_after)
        returning c.id
    )
    select coalesce(array_agg(ch.id order by ch.id), '{}') into marked from changed ch;

    return sms_emit_events(array_fill(event_type, array[cardinality(marked)]), marked,
        array_fill(null::uuid, array[cardinality(marked)]), array_fill(event_data, array[cardinality(marked)]), at);
end $$;
