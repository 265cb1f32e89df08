-- API keys. Only the SHA-256 of a key is stored.
create table api_keys (
    id          uuid primary key,
    name        text not null,
    key_hash    bytea not null unique,
    scopes      text not null,
    expires_at  timestamptz,
    revoked_at  timestamptz,
    created_at  timestamptz not null
);

-- What a request with an Idempotency-Key created. A repeated request gets the same response.
create table idempotency_keys (
    api_key_id      uuid not null,
    idempotency_key text not null,
    payload_hash    bytea not null,
    resource_id     uuid not null,
    created_at      timestamptz not null,
    primary key (api_key_id, idempotency_key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);
