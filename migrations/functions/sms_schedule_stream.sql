-- Decides when a worker continues with a stream after an exchange, and returns the changed stream:
-- - resume_at: when it exchanges again, unless an attempt ends before; null if nothing can be claimed soon;
-- - is_over: nothing is in flight or can be claimed soon: the worker leaves the stream;
-- - hint_at: a hint is needed for then, because the worker leaves work that is due, or due within the time for delayed hints.
-- busy: whether the worker has attempts in flight. wants: whether it claims more. slots: how many attempts could be started.
create or replace function sms_schedule_stream(
    inout stream sms_delivery_streams, is_active bool, busy bool, wants bool, slots integer, limits sms_delivery_limits,
    at timestamptz, out resume_at timestamptz, out is_over bool, out hint_at timestamptz)
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    undelivered record;
    -- When the stream can be claimed next.
    work_at timestamptz;
begin
    select count(*) as rows, min(d.due_at) as due_at, min(d.due_at) filter (where d.is_leased) as lease into undelivered
    from sms_delivery_due(stream.subscription_id, stream.kind, at) d;
    stream.next_due_at := undelivered.due_at;
    stream.is_full := undelivered.rows >= limits.max_rows;
    if is_active then
        work_at := case when slots <= 0 then undelivered.lease
            when stream.position < stream.target and not stream.is_full then at
            else undelivered.due_at end;
        -- greatest() ignores null.
        work_at := case when work_at is not null then greatest(work_at, stream.paused_until, at) end;
    end if;
    if wants and work_at <= at + make_interval(secs => limits.stay_seconds) then
        resume_at := work_at;
    end if;
    is_over := not busy and resume_at is null;
    if stream.wake_at <= at then
        stream.wake_at := null;
    end if;
    if not is_over then
        if stream.hinted_at is null or stream.hinted_at < at - interval '10 seconds' then
            stream.hinted_at := at;
        end if;
        return;
    end if;
    stream.hinted_at := null;
    if work_at <= at then
        hint_at := at;
        stream.hinted_at := at;
    elsif work_at <= at + make_interval(secs => limits.wake_seconds)
        and (stream.wake_at is null or stream.wake_at > work_at) then
        hint_at := work_at;
        stream.wake_at := work_at;
    end if;
end $$;
