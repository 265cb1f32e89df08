-- transaction: none
-- Consent that was given or revoked elsewhere, such as on paper, and recorded through the API: how and by what evidence, in
-- the caller's words, and the caller's key. Set if the source is consent; "evidence" is the entry's own id then.
alter table sms_opt_out_events add column if not exists stated_source text;
alter table sms_opt_out_events add column if not exists stated_evidence text;
alter table sms_opt_out_events add column if not exists api_key_id uuid;
-- The constraint is replaced by a wider one.
-- squawk-ignore ban-drop-constraint
alter table sms_opt_out_events drop constraint if exists sms_opt_out_events_source_check;
alter table sms_opt_out_events add constraint sms_opt_out_events_source_check
    check (source in ('keyword', 'free_text', 'opt_out_type', 'twilio_error', 'consent')) not valid;
-- Each statement here is a transaction.
-- squawk-ignore constraint-missing-not-valid
alter table sms_opt_out_events validate constraint sms_opt_out_events_source_check;
