-- Up to where events about subscriptions were published to the operators' topic: its only row.
create table sms_notice_counter (
    is_only_row         boolean primary key default true check (is_only_row),
    position            bigint not null
);
insert into sms_notice_counter (position) select last_position from sms_event_counter;
-- Postgres cannot create an index of a partitioned table concurrently.
-- squawk-ignore require-concurrent-index-creation
create index sms_events_about_subscriptions on sms_events (position) where subscription_id is not null;
