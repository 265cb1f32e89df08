-- Webhooks that SQS did not accept in time. A schedule moves them to their queue.
create table webhook_spool (
    id          uuid primary key,
    queue       text not null check (queue in ('inbound', 'status')),
    message     jsonb not null,
    request_id  text not null,
    created_at  timestamptz not null
);
