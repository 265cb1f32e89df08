-- Returns whether a clarification that answers a message may pass the opt-out of its conversation: every opt-out in force
-- is a refusal in free text, and the answered message is one of them. So it passes no keyword such as STOP, no OptOutType,
-- no refusal by Twilio (21610), and no consent recorded through the API. An opt-out is in force until an opt-in.
create or replace function sms_may_clarify(answered uuid) returns boolean
language plpgsql stable
-- A connection keeps plans that it made for small tables.
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
    return (
        select coalesce(bool_and(o.source = 'free_text') and bool_or(o.evidence = m.twilio_sid), false)
        from sms_messages m join sms_opt_out_events o on o.conversation_id = m.conversation_id
        where m.id = answered and o.action = 'opt_out' and o.scope = 'all'
          and not exists (
              select from sms_opt_out_events i
              where i.conversation_id = o.conversation_id and i.action = 'opt_in' and i.scope = 'all'
                and (i.created_at, i.id) > (o.created_at, o.id)));
end $$;
