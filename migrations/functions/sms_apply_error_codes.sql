-- Applies what error codes say about the recipients of messages: carrier_blocked, the carrier blocks messages to the number;
-- opted_out, the recipient has opted out. The provider's adapter knows the codes. The evidence is the id of the attempt or
-- the SID. Returns the conversations that have opted out by that, and for each a message with such a code.
-- Conversations are locked in the order of their ids.
create or replace function sms_apply_error_codes(
    message_ids uuid[], evidence text[], codes text[], effects text[], ats timestamptz[],
    out opted_conversations uuid[], out opted_messages uuid[])
language plpgsql as $$
declare
    subscribed uuid[];
begin
    perform from sms_conversations c
    where c.id in (select m.conversation_id from sms_messages m where m.id = any(message_ids))
    order by c.id for no key update;
    subscribed := array(
        select c.id from sms_conversations c
        where c.id in (select m.conversation_id from sms_messages m where m.id = any(message_ids))
          and c.opted_out_at is null);

    update sms_conversations c set carrier_blocked_at = t.at
    from unnest(message_ids, effects, ats) as t (id, effect, at) join sms_messages m on m.id = t.id
    where t.effect = 'carrier_blocked' and c.id = m.conversation_id and c.carrier_blocked_at is null;

    insert into sms_opt_out_events (id, conversation_id, action, source, words, our_number, evidence, created_at)
    select sms_new_id(), m.conversation_id, 'opt_out', 'twilio_error', t.code, m.from_number, t.evidence, t.at
    from unnest(message_ids, evidence, codes, effects, ats) as t (id, evidence, code, effect, at) join sms_messages m on m.id = t.id
    where t.effect = 'opted_out'
    on conflict do nothing;

    select array_agg(o.conversation_id), array_agg(o.message_id) into opted_conversations, opted_messages
    from (select distinct on (m.conversation_id) m.conversation_id, m.id as message_id
          from unnest(message_ids, effects) as t (id, effect)
          join sms_messages m on m.id = t.id join sms_conversations c on c.id = m.conversation_id
          where t.effect = 'opted_out' and c.id = any(subscribed) and c.opted_out_at is not null
          order by m.conversation_id, m.id) o;
end $$;
