-- transaction: none
-- The sender that a conversation used before, if a request named none and that sender is no longer configured: the default
-- sender replaced it. A number or the SID of a messaging service.
alter table sms_messages add column if not exists replaced_from text;

-- What an outbound message is for. Quiet hours depend on it.
alter table sms_messages add column if not exists purpose text not null default 'service';
alter table sms_messages drop constraint if exists sms_messages_purpose_check,
    add constraint sms_messages_purpose_check check (purpose in ('service', 'marketing', 'emergency')) not valid;
alter table sms_messages validate constraint sms_messages_purpose_check;

-- Replaced by sms_create_send_2, in its turn by sms_create_send_3.
drop function if exists sms_create_send;
