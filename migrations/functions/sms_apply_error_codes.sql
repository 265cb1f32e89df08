-- Applies what Twilio's error codes say about the recipients of messages: 30004, the carrier blocks messages to this number;
-- 21610, the recipient has opted out. The evidence is the id of the attempt or the SID. Conversations are locked in the
-- order of their ids.
create or replace function sms_apply_error_codes(message_ids uuid[], evidence text[], codes text[], at timestamptz)
returns void language plpgsql as $$
begin
    if not codes && array['30004', '21610'] then
        return;
    end if;
    perform from sms_conversations c
    where c.id in (select m.conversation_id from unnest(message_ids, codes) as t (id, code)
                   join sms_messages m on m.id = t.id where t.code in ('30004', '21610'))
    order by c.id for no key update;

    update sms_conversations c set carrier_blocked_at = at
    from unnest(message_ids, codes) as t (id, code) join sms_messages m on m.id = t.id
    where t.code = '30004' and c.id = m.conversation_id and c.carrier_blocked_at is null;

    insert into sms_opt_out_events (id, conversation_id, action, source, words, our_number, evidence, created_at)
    select gen_random_uuid(), m.conversation_id, 'opt_out', 'twilio_error', t.code, m.from_number, t.evidence, at
    from unnest(message_ids, evidence, codes) as t (id, evidence, code) join sms_messages m on m.id = t.id
    where t.code = '21610'
    on conflict do nothing;
end $$;
