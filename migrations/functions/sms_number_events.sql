-- Gives positions to committed events without one, at most max_number, and moves them to the log. Returns their number and
-- the last position.
--
-- One call at a time holds the lock until its commit, so positions become visible in ascending order and without gaps. Every
-- statement here has a snapshot of its own: what is read under the lock includes all that earlier holders committed. An
-- event whose transaction is open is not visible and gets a later position, without a wait. Within a conversation the
-- order is that of "number", because its events are written under the lock of its sequence.
create or replace function sms_number_events(max_number integer, out numbered bigint, out last_position bigint)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
    numbered := 0;
    if exists (select from sms_events_pending) then
        -- An arbitrary constant. Transaction-level, because a transaction pooler changes sessions.
        perform pg_advisory_xact_lock(7673801);
        with taken as (
            delete from sms_events_pending p
            where p.number = any(array(select n.number from sms_events_pending n order by n.number limit max_number))
            returning p.*
        ), total as (
            select count(*) as events from taken
        ), counter as (
            update sms_event_counter c set last_position = c.last_position + t.events from total t where t.events > 0
            returning c.last_position - t.events as before
        )
        insert into sms_events (
            id, position, event_type, conversation_id, message_id, subscription_id, tenant_id, workflow_type, body, created_at)
        select t.id, c.before + row_number() over (order by t.number), t.event_type, t.conversation_id, t.message_id,
            t.subscription_id, t.tenant_id, t.workflow_type, t.body, t.created_at
        from taken t cross join counter c order by t.number;
        get diagnostics numbered = row_count;
    end if;
    select c.last_position into last_position from sms_event_counter c;
end $$;
