-- Picks the messages of a sender that its pace allows now, at most max_number, the most urgent first. Fails those that must
-- not be sent any more.
--
-- backlog is what was sent and has not left yet at the sender's pace, in segments. It may grow to the burst; bulk messages
-- leave room for more urgent ones. A message longer than the burst goes if the backlog is empty.
create or replace function sms_pick_sends(
    held sms_senders, rate float8, burst float8, bulk_burst float8, allowed uuid[], max_age interval, now_at timestamptz,
    max_number int, out taken uuid[], out refused uuid[], out backlog float8, out ready_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
    candidate record;
    of_priority text;
    allowance float8;
    -- One message after a hold, as a probe.
    room int := case when held.held_until > now_at then 0 when held.held_until <= now_at then least(1, max_number)
                     else max_number end;
begin
    taken := '{}';
    refused := '{}';
    ready_at := greatest(held.ready_at, now_at);
    backlog := extract(epoch from ready_at - now_at) * rate;
    <<priorities>>
    foreach of_priority in array array['urgent', 'normal', 'bulk'] loop
        allowance := case when of_priority = 'bulk' then bulk_burst else burst end;
        exit when room = 0 or (backlog > 0 and backlog + 1 > allowance);
        for candidate in
            select * from sms_due_sends(held.sender, of_priority, allowed, now_at,
                least(room, floor(allowance - backlog)::int + 1))
        loop
            if candidate.opted_out or coalesce(candidate.send_before, candidate.wanted_at + max_age) <= now_at then
                update sms_messages m
                set delivery_status = 'failed',
                    error_code = case when candidate.opted_out then 'opted_out' else 'retries_exhausted' end
                where m.id = candidate.message_id;
                refused := refused || candidate.message_id;
                continue;
            end if;
            exit priorities when backlog > 0 and backlog + candidate.segments > allowance;
            taken := taken || candidate.message_id;
            backlog := backlog + candidate.segments;
            ready_at := ready_at + make_interval(secs => candidate.segments / rate);
            room := room - 1;
            exit priorities when room = 0;
        end loop;
        -- Refused messages used up this priority's limit. The next wake-up, which follows at once, claims the rest of it.
        exit when refused <> '{}';
    end loop;
end $$;
