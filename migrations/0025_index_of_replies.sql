-- transaction: none
-- Most messages are no automatic reply. The unique constraint had an entry for each of them, which every change of a message's
-- status repeated (common/docs/performance.md, Growth).
-- squawk-ignore ban-concurrent-index-creation-in-transaction
create unique index concurrently if not exists sms_messages_reply on sms_messages (in_reply_to) where in_reply_to is not null;
-- At once, and not in a later release: no release names the constraint.
-- squawk-ignore ban-drop-constraint
alter table sms_messages drop constraint if exists sms_messages_in_reply_to_key;
