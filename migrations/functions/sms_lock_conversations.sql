-- Returns the conversations of numbers, locked, and creates the missing ones. A number may be given several times.
--
-- Conversations are locked in the order of account and number, which is also the order in which missing ones are created.
-- Ids are no usable order, because two batches give a new number different ones. The update of "created" changes nothing;
-- it returns the row that a concurrent batch has just created, which "do nothing" would not.
create or replace function sms_lock_conversations(
    account_sids text[], canonicals text[], new_ids uuid[], originals text[], received timestamptz[])
returns setof sms_conversations language plpgsql as $$
#variable_conflict use_column
begin
    return query
    with input as (
        select distinct on (account_sid, canonical) *
        from unnest(account_sids, canonicals, new_ids, originals, received)
            as t (account_sid, canonical, new_id, original, received_at)
        order by account_sid, canonical, received_at
    ), existing as (
        select c.* from sms_conversations c
        where (c.account_sid, c.phone_number_canonical) in (select i.account_sid, i.canonical from input i)
        order by c.account_sid, c.phone_number_canonical
        for no key update
    ), created as (
        insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
        select i.new_id, i.account_sid, i.canonical, i.original, i.received_at from input i
        where not exists (select from existing e
                          where e.account_sid = i.account_sid and e.phone_number_canonical = i.canonical)
        order by i.account_sid, i.canonical
        on conflict (account_sid, phone_number_canonical)
            do update set phone_number_canonical = excluded.phone_number_canonical
        returning *
    )
    select * from existing union all select * from created;
end $$;
