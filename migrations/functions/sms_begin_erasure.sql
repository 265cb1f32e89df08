-- Begins to erase the content of a conversation, found by the first known spelling of its number. Returns nothing if there is
-- none. From the commit on, no webhook that was received before brings content back. The row of the audit is kept forever.
--
-- Removes what does not belong to single messages: the workflow, the words in the ledger of opt-outs, and raw callbacks that
-- have not found their message yet. The number stays, because opt-outs apply to it.
create or replace function sms_begin_erasure(
    account text, numbers text[], erasure uuid, by_key uuid, by_request text, at timestamptz)
returns table (conversation_id uuid, phone_number_canonical text, phone_number_original text) language plpgsql as $$
#variable_conflict use_column
declare
    held sms_conversations;
    texts bigint;
    callbacks bigint;
begin
    select c.* into held from unnest(numbers) with ordinality as v (number, position)
    join sms_conversations c on c.account_sid = account and c.phone_number_canonical = v.number
    order by v.position limit 1 for no key update of c;
    if not found then
        return;
    end if;
    update sms_conversations c
    set erased_at = greatest(c.erased_at, at), workflow_type = null, workflow_id = null where c.id = held.id;

    update sms_opt_out_events o set words = null
    where o.conversation_id = held.id and o.source in ('keyword', 'free_text') and o.words is not null;
    get diagnostics texts = row_count;

    update sms_message_status_events e set raw_webhook_data = '{}'
    where e.id = any(array(select c.event_id from sms_callbacks c where c.message_id is null))
      and e.raw_webhook_data ->> 'To' in (held.phone_number_canonical, held.phone_number_original);
    get diagnostics callbacks = row_count;

    insert into sms_erasures (id, conversation_id, api_key_id, request_id, requested_at, up_to, counts)
    values (erasure, held.id, by_key, by_request, at, greatest(at, held.last_message_at),
        jsonb_build_object('opt_out_texts', texts, 'status_callbacks', callbacks))
    on conflict (id) do nothing;
    return query select held.id, held.phone_number_canonical, held.phone_number_original;
end $$;
