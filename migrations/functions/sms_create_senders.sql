-- Returns the senders of messages and wake-ups, and creates the missing rows, in the order in which they are locked.
create or replace function sms_create_senders(message_ids uuid[], woken text[]) returns text[] language plpgsql as $$
declare
    senders text[];
begin
    senders := array(
        select m.sender from unnest(message_ids) as t (id) join sms_messages m on m.id = t.id where m.direction = 'outbound'
        union select unnest(woken)
        order by 1);
    insert into sms_senders (sender) select unnest(senders) order by 1 on conflict do nothing;
    return senders;
end $$;
