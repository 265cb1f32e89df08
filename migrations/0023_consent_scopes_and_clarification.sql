-- transaction: none
-- What an entry of the consent ledger applies to: "all", "workflow:" with a workflow type, or "purpose:" with a purpose.
alter table sms_opt_out_events add column if not exists scope text not null default 'all';
-- A text always stops all messages. Repeatable: a run that fails starts with the first statement again.
-- squawk-ignore ban-drop-constraint
alter table sms_opt_out_events drop constraint if exists sms_opt_out_events_scope_check,
    add constraint sms_opt_out_events_scope_check
        check (scope = 'all' or source = 'consent'
            and scope ~ '^(workflow:.|purpose:(service|marketing|emergency)$)') not valid;
-- Each statement has a transaction of its own.
-- squawk-ignore constraint-missing-not-valid
alter table sms_opt_out_events validate constraint sms_opt_out_events_scope_check;
-- The scopes that the number has opted out of, except "all", which is opted_out_at. The trigger of the ledger keeps both.
alter table sms_conversations add column if not exists opted_out_scopes text[] not null default '{}';

-- When the number was last asked what its refusal means.
alter table sms_conversations add column if not exists clarified_at timestamptz;
-- Whether the message asks that. It answers the refusal and expires soon.
alter table sms_messages add column if not exists is_clarification boolean not null default false;
-- squawk-ignore ban-drop-constraint
alter table sms_messages drop constraint if exists sms_messages_clarification_check,
    add constraint sms_messages_clarification_check check (
        not is_clarification or (direction = 'outbound' and in_reply_to is not null and send_before is not null)) not valid;
-- squawk-ignore constraint-missing-not-valid
alter table sms_messages validate constraint sms_messages_clarification_check;
