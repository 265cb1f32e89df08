-- Tokens that stand for an API key in the URL of an event stream. Only the SHA-256 of a token is stored. They expire within
-- a minute, and the statement that adds one deletes expired ones.
create table stream_tokens (
    token_hash  bytea primary key,
    api_key_id  uuid not null,
    expires_at  timestamptz not null
);
create index stream_tokens_by_expiry on stream_tokens (expires_at);
