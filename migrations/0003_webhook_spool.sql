-- Webhooks that SQS did not take in time. A schedule puts them on their queue and removes them.
create table webhook_spool (
    id          uuid primary key,
    queue       text not null check (queue in ('inbound', 'status')),
    message     jsonb not null,
    request_id  text not null,
    created_at  timestamptz not null
);
