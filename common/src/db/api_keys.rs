//! Keys of the API: made, listed, revoked, and looked up by their hash.

use super::{Db, DbError, Row, Type};
use crate::clock;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What every key begins with, so that scanners of repositories and logs can find one.
const PREFIX: &str = "smsk_";

/// 43 characters of 62 hold 256 bits.
const LENGTH: usize = 43;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes a new key: 256 random bits, written in letters and digits.
#[must_use]
pub fn generate() -> String {
    let mut key = PREFIX.to_owned();
    while key.len() < PREFIX.len() + LENGTH {
        // Bytes from 248 on are left out: 248 is the largest multiple of 62 in a byte, so that all letters are
        // equally likely.
        let usable = clock::random_bytes::<64>().into_iter().filter(|byte| *byte < 248);
        let missing = PREFIX.len() + LENGTH - key.len();
        key.extend(usable.take(missing).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    key
}

/// Returns what is stored of a key. A fast hash is enough: there is nothing to guess in 256 random bits.
#[must_use]
pub fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key).to_vec()
}

/// Returns the key in an `Authorization` header's value, if that holds something that may be one.
#[must_use]
pub fn in_header(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    let key = key.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && is_well_formed(key)).then_some(key)
}

/// Tells whether a text has the form of a key, so that anything else is refused without asking Postgres.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.len() == LENGTH && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A key, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// Who holds it.
    pub name: String,
    /// What it allows, joined by spaces.
    pub scopes: String,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

fn api_key(row: &Row) -> ApiKey {
    ApiKey {
        id: row.get(0),
        name: row.get(1),
        scopes: row.get(2),
        expires_at: row.get(3),
        revoked_at: row.get(4),
        created_at: row.get(5),
    }
}

const CREATE: &str = "
insert into api_keys (id, name, key_hash, scopes, expires_at, created_at) values ($1, $2, $3, $4, $5, $6)";

/// Stores a new key's hash.
///
/// # Errors
///
/// [`DbError`]; the key must then not be given out.
pub async fn create(db: &Db, key: &ApiKey, key_hash: &[u8]) -> Result<(), DbError> {
    db.query(
        "store a key",
        CREATE,
        &[
            (&key.id, Type::UUID),
            (&key.name, Type::TEXT),
            (&key_hash, Type::BYTEA),
            (&key.scopes, Type::TEXT),
            (&key.expires_at, Type::TIMESTAMPTZ),
            (&key.created_at, Type::TIMESTAMPTZ),
        ],
    )
    .await
    .map(drop)
}

const LIST: &str =
    "select id, name, scopes, expires_at, revoked_at, created_at from api_keys order by created_at, id";

/// Lists all keys, the revoked ones too.
///
/// # Errors
///
/// [`DbError`] when Postgres can't be read.
pub async fn list(db: &Db) -> Result<Vec<ApiKey>, DbError> {
    Ok(db.query_idempotent("list the keys", LIST, &[]).await?.iter().map(api_key).collect())
}

const REVOKE: &str = "
update api_keys set revoked_at = coalesce(revoked_at, $2) where id = $1
returning id, name, scopes, expires_at, revoked_at, created_at";

/// Revokes a key, and returns it if there is one. The gateway may go on trusting it until its cache forgets.
///
/// # Errors
///
/// [`DbError`]; the key may still be valid.
pub async fn revoke(db: &Db, id: Uuid, now: Timestamp) -> Result<Option<ApiKey>, DbError> {
    let rows =
        db.query_idempotent("revoke a key", REVOKE, &[(&id, Type::UUID), (&now, Type::TIMESTAMPTZ)]).await?;
    Ok(rows.first().map(api_key))
}

const VALID: &str = "
select id, name, scopes, expires_at, revoked_at, created_at from api_keys
where key_hash = $1 and revoked_at is null and (expires_at is null or expires_at > $2)";

/// Finds the key that has this hash, unless it was revoked or has expired.
///
/// # Errors
///
/// [`DbError`] when Postgres can't be read.
pub async fn find_valid(db: &Db, key_hash: &[u8], now: Timestamp) -> Result<Option<ApiKey>, DbError> {
    let rows = db
        .query_idempotent("look a key up", VALID, &[(&key_hash, Type::BYTEA), (&now, Type::TIMESTAMPTZ)])
        .await?;
    Ok(rows.first().map(api_key))
}

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
