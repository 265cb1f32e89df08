-- Returns whether consent with this source and evidence is in the ledger of a conversation, however old. An opt-in that is must
-- not be recorded again: a repeated request or import would end an opt-out that was recorded after it.
create or replace function sms_has_stated(conversation uuid, entry_action text, entry_scope text, source text, evidence text)
returns bool language sql stable as $$
    select exists (
        select from sms_opt_out_events o
        where o.conversation_id = conversation and o.action = entry_action and o.scope = entry_scope
          and o.stated_source = sms_has_stated.source and o.stated_evidence = sms_has_stated.evidence)
$$;
