//! API keys: create, list, revoke, and find by hash.

use super::{Db, DbError, Statement, params, row, statements};
use crate::clock;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The prefix of every key, so that secret scanners can find leaked keys.
const PREFIX: &str = "smsk_";

/// 43 characters of an alphabet of 62 hold 256 bits.
const LENGTH: usize = 43;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Creates a key: 256 random bits as letters and digits.
#[must_use]
pub fn generate() -> String {
    secret(PREFIX)
}

/// Creates a secret: a prefix, and 256 random bits as letters and digits.
pub(super) fn secret(prefix: &str) -> String {
    let mut key = prefix.to_owned();
    while key.len() < prefix.len() + LENGTH {
        // Bytes from 248 on are skipped: 248 is the largest multiple of 62 in a byte, so all letters are equally
        // likely.
        let usable = clock::random_bytes::<64>().into_iter().filter(|byte| *byte < 248);
        let missing = prefix.len() + LENGTH - key.len();
        key.extend(usable.take(missing).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    key
}

/// Returns the hash that is stored. A fast hash is enough for 256 random bits.
#[must_use]
pub fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key).to_vec()
}

/// Returns the key in the value of an `Authorization` header, if it has the format of a key.
#[must_use]
pub fn in_header(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    let key = key.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && is_well_formed(key)).then_some(key)
}

/// Returns whether a text has the format of a key. Anything else is rejected without a query.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    is_secret(PREFIX, text)
}

/// Returns whether a text has the format of a [`secret`] with this prefix.
pub(super) fn is_secret(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == LENGTH && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

row! {
    /// The description of a key.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ApiKey {
        /// Its id.
        pub id: Uuid,
        /// Its holder.
        pub name: String,
        /// Its scopes, separated by spaces.
        pub scopes: String,
        /// When it expires.
        pub expires_at: Option<Timestamp>,
        /// When it was revoked.
        pub revoked_at: Option<Timestamp>,
        /// When it was created.
        pub created_at: Timestamp,
    }
}

const CREATE: Statement<()> = Statement::new(
    "store a key",
    "
insert into api_keys (id, name, key_hash, scopes, expires_at, created_at)
values ($id, $name, $key_hash, $scopes, $expires_at, $created_at)",
);

/// Stores a new key's hash.
///
/// # Errors
///
/// [`DbError`]: the key is not valid and must not be returned.
pub async fn create(db: &Db, key: &ApiKey, key_hash: &[u8]) -> Result<(), DbError> {
    let ApiKey { id, name, scopes, expires_at, revoked_at: _, created_at } = key;
    let params = params! { id, name, key_hash, scopes, expires_at, created_at };
    db.query(&CREATE, &params).await.map(drop)
}

const LIST: Statement<ApiKey> = Statement::new(
    "list the keys",
    "select id, name, scopes, expires_at, revoked_at, created_at from api_keys order by created_at, id",
);

/// Lists all keys, including revoked ones.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn list(db: &Db) -> Result<Vec<ApiKey>, DbError> {
    db.query_idempotent(&LIST, &[]).await
}

const REVOKE: Statement<ApiKey> = Statement::new(
    "revoke a key",
    "
update api_keys set revoked_at = coalesce(revoked_at, $now) where id = $id
returning id, name, scopes, expires_at, revoked_at, created_at",
);

/// Revokes a key and returns it, if it exists. The gateway may accept it until its cache expires.
///
/// # Errors
///
/// [`DbError`]: the key may still be valid.
pub async fn revoke(db: &Db, id: Uuid, now: Timestamp) -> Result<Option<ApiKey>, DbError> {
    Ok(db.query_idempotent(&REVOKE, &params! { id, now }).await?.into_iter().next())
}

const VALID: Statement<ApiKey> = Statement::new(
    "look up a key",
    "
select id, name, scopes, expires_at, revoked_at, created_at from api_keys
where key_hash = $key_hash and revoked_at is null and (expires_at is null or expires_at > $now)",
);

/// Finds a valid key by its hash.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn find_valid(db: &Db, key_hash: &[u8], now: Timestamp) -> Result<Option<ApiKey>, DbError> {
    Ok(db.query_idempotent(&VALID, &params! { key_hash, now }).await?.into_iter().next())
}

statements!(CREATE, LIST, REVOKE, VALID);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_form_and_never_repeat() {
        let keys: std::collections::HashSet<String> = (0..1000).map(|_| generate()).collect();
        assert_eq!(keys.len(), 1000);
        for key in keys {
            assert!(is_well_formed(&key), "{key}");
            assert!(!is_well_formed(&key[1..]) && !is_well_formed(&format!("{key}x")), "{key}");
        }
    }
}
