-- Returns when a sender's next message can be claimed, and whether a wake-up must be queued for it, wake_in seconds from
-- now. Later ones than the horizon are left to a schedule. was_idle is whether this claim found no message that was due.
create or replace function sms_next_wake_up(
    held sms_senders, woken text[], woken_at timestamptz[], rate float8, burst float8, bulk_burst float8, backlog float8,
    was_idle bool, horizon interval, now_at timestamptz,
    out wake_at timestamptz, out is_new bool, out wake_in float8)
language plpgsql as $$
#variable_conflict use_column
declare
    following record;
    due_at timestamptz;
    allowance float8;
begin
    is_new := false;
    -- A wake-up of this batch, or one whose time has passed, is not in the queue any more.
    if held.wake_at > now_at
        and (held.sender, held.wake_at) not in (select t.sender, t.at from unnest(woken, woken_at) as t (sender, at)) then
        wake_at := held.wake_at;
    end if;
    select p.priority, greatest(m.next_attempt_at, now_at) as due_at, coalesce(m.segments, 1) as segments
    into following
    from (values (1, 'urgent'), (2, 'normal'), (3, 'bulk')) as p (rank, priority)
    cross join lateral (
        select m.next_attempt_at, m.segments from sms_messages m
        where m.sender = held.sender and m.priority = p.priority
          and m.delivery_status = 'pending' and m.claimed_at is null and m.twilio_sid is null
        order by m.next_attempt_at limit 1
    ) m
    order by 2, p.rank limit 1;
    if not found then
        return;
    end if;
    allowance := case when following.priority = 'bulk' then bulk_burst else burst end;
    due_at := greatest(following.due_at, held.held_until,
        now_at + make_interval(secs => least(backlog, greatest(0, backlog + following.segments - allowance)) / rate));
    -- Another function is changing the due message: not at once again.
    if due_at = now_at and was_idle then
        due_at := now_at + interval '1 second';
    end if;
    wake_in := extract(epoch from due_at - now_at);
    -- A wake-up that is due at once counts as queued for a second.
    due_at := greatest(due_at, now_at + interval '1 second');
    if due_at <= now_at + horizon and (wake_at is null or wake_at > due_at) then
        wake_at := due_at;
        is_new := true;
    end if;
end $$;
