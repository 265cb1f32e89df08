-- transaction: none
-- The sender that a conversation used before, if a request named none and that sender is no longer configured: the default
-- sender replaced it. A number or the SID of a messaging service.
alter table sms_messages add column if not exists replaced_from text;

-- What an outbound message is for. Quiet hours depend on it.
alter table sms_messages add column if not exists purpose text not null default 'service';
-- Repeatable, because a run that fails starts with the first statement again.
-- squawk-ignore ban-drop-constraint
alter table sms_messages drop constraint if exists sms_messages_purpose_check,
    add constraint sms_messages_purpose_check check (purpose in ('service', 'marketing', 'emergency')) not valid;
-- Each statement has a transaction of its own.
-- squawk-ignore constraint-missing-not-valid
alter table sms_messages validate constraint sms_messages_purpose_check;

-- Unused since sms_create_send_2, which sms_create_send_3 replaces now.
-- squawk-ignore ban-drop-function
drop function if exists sms_create_send;
