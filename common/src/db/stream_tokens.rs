//! Short-lived tokens that stand for an API key in the URL of an event stream: create, and find the key by hash.
//!
//! Browsers cannot set a header on an `EventSource`, and a key must not be in a URL.

use super::api_keys::{self, ApiKey};
use super::{Db, DbError, Statement, params, statements};
use jiff::Timestamp;
use uuid::Uuid;

/// The prefix of every token, so that secret scanners can find leaked tokens.
const PREFIX: &str = "smst_";

/// Creates a token. Its hash is stored like that of a key ([`api_keys::hash`]).
#[must_use]
pub fn generate() -> String {
    api_keys::secret(PREFIX)
}

/// Returns whether a text has the format of a token. Anything else is rejected without a query.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    api_keys::is_secret(PREFIX, text)
}

/// Also deletes some tokens that have expired, so that the table stays small without a schedule. Rows that another
/// statement deletes are skipped.
const CREATE: Statement<()> = Statement::new(
    "store a stream token",
    "
with expired as (
    select token_hash from stream_tokens where expires_at <= $now
    order by expires_at limit 100 for update skip locked
), deleted as (
    delete from stream_tokens t using expired where t.token_hash = expired.token_hash
)
insert into stream_tokens (token_hash, api_key_id, expires_at) values ($token_hash, $key_id, $expires_at)
on conflict do nothing",
);

/// Stores the hash of a new token of a key.
///
/// # Errors
///
/// [`DbError`]: the token is not valid and must not be returned.
pub async fn create(
    db: &Db,
    token_hash: &[u8],
    key_id: Uuid,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), DbError> {
    let params = params! { token_hash, key_id, expires_at, now };
    db.query_idempotent(&CREATE, &params).await.map(drop)
}

const HOLDER: Statement<ApiKey> = Statement::new(
    "look up a stream token",
    "
select k.id, k.name, k.scopes, k.expires_at, k.revoked_at, k.created_at
from stream_tokens t join api_keys k on k.id = t.api_key_id
where t.token_hash = $token_hash and t.expires_at > $now
  and k.revoked_at is null and (k.expires_at is null or k.expires_at > $now)",
);

/// Finds the key of a valid token by the token's hash. The key must still be valid.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn find_holder(db: &Db, token_hash: &[u8], now: Timestamp) -> Result<Option<ApiKey>, DbError> {
    Ok(db.query_idempotent(&HOLDER, &params! { token_hash, now }).await?.into_iter().next())
}

statements!(CREATE, HOLDER);
