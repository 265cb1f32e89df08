-- Returns streams with work that is due and for which no hint was sent, and no worker was seen, since hint_before; at most
-- max_streams. They count as hinted. It finds the work of lost hints and of workers that died. Streams that a worker has locked
-- are left to it.
create or replace function sms_due_streams(max_streams integer, hint_before timestamptz, at timestamptz)
returns table (subscription_id uuid, kind text, is_slow bool)
language sql as $$
    with due as (
        select d.subscription_id, d.kind from sms_delivery_streams d
        join sms_subscriptions s on s.id = d.subscription_id and s.status = 'active'
        where d.paused_until <= at and (d.hinted_at is null or d.hinted_at < hint_before)
          and ((d.position < d.target and not d.is_full) or d.next_due_at <= at)
        order by d.hinted_at nulls first limit max_streams
        for update of d skip locked
    )
    update sms_delivery_streams d set hinted_at = at
    from due where d.subscription_id = due.subscription_id and d.kind = due.kind
    returning d.subscription_id, d.kind, d.slow_until > at
$$;
