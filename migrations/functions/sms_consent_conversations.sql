-- Returns the conversations of the rows of an import, locked, by the places of the rows: that of the first known
-- variant of the row's number, else that of its recipient, which may be new; null if there is neither. A number may
-- have several rows.
--
-- Conversations are locked and created in the order of their numbers, as for inbound messages (sms_lock_conversations),
-- whatever the order of the rows is. One statement does both: a conversation that a concurrent transaction creates
-- meanwhile keeps its place in the order, so that imports cannot deadlock. Its update changes nothing, but locks.
create or replace function sms_consent_conversations(account text, stated jsonb, at timestamptz) returns uuid[]
language plpgsql
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    numbers text[];
begin
    numbers := array(
        select coalesce(known.number, r.recipient)
        from jsonb_to_recordset(stated) as r (place int, variants text[], recipient text)
        left join lateral (
            select v.number from unnest(r.variants) with ordinality as v (number, position)
            join sms_conversations c on c.account_sid = account and c.phone_number_canonical = v.number
            order by v.position limit 1
        ) known on true
        order by r.place);
    insert into sms_conversations as c (id, account_sid, phone_number_canonical, phone_number_original, created_at)
    select distinct on (numbers[r.place])
        r.new_conversation, account, numbers[r.place], coalesce(r.original, numbers[r.place]), at
    from jsonb_to_recordset(stated) as r (place int, new_conversation uuid, original text)
    where numbers[r.place] is not null
    order by numbers[r.place], r.place
    on conflict (account_sid, phone_number_canonical) do update set time_zone = c.time_zone where false;
    -- A new statement, whose snapshot includes the conversations that concurrent transactions have created.
    return array(
        select c.id from unnest(numbers) with ordinality as n (number, place)
        left join sms_conversations c on c.account_sid = account and c.phone_number_canonical = n.number
        order by n.place);
end $$;
