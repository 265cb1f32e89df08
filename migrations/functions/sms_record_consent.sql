-- Records consent for all messages. Called by the previous release only; the next one drops it.
create or replace function sms_record_consent(
    account text, variants text[], recipient text, recipient_original text, new_conversation uuid, entry_id uuid,
    entry_action text, entry_source text, caller_source text, caller_evidence text, by_key uuid,
    event_type text, event_data text, at timestamptz)
returns table (action text, source text, evidence text, recorded_at timestamptz, recorded_by uuid)
language plpgsql as $$
begin
    return query
    select r.action, r.source, r.evidence, r.recorded_at, r.recorded_by
    from sms_record_consent_2(account, variants, recipient, recipient_original, new_conversation, entry_id, entry_action,
        'all', entry_source, caller_source, caller_evidence, by_key, event_type, event_data, at) r;
end $$;
