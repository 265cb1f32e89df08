//! Authorization of the callers of endpoints.
//!
//! The authorizer verifies keys, and the gateway caches its result for a minute, also the result "could not read the
//! keys". Postgres may be available again by then, so an endpoint, which needs Postgres anyway, verifies such a key
//! itself.

use crate::clock;
use crate::db::api_keys::ApiKey;
use crate::db::{Db, api_keys, stream_tokens};
use crate::http::{ApiError, HttpRequestExt, Principal, Request, Scope};

/// Returns the caller if its key has the scope.
///
/// # Errors
///
/// [`ApiError::Forbidden`] when the key lacks the scope; [`ApiError::Unauthorized`] when the key is not valid;
/// [`ApiError::Unavailable`] when neither the authorizer nor this function could read the keys.
pub async fn authorize(db: &Db, request: &Request, scope: Scope) -> Result<Principal, ApiError> {
    if request.is_unverified() { verify(db, request, scope).await } else { request.authorize(scope) }
}

/// Returns the caller if the key in its header is valid and has the scope. For function URLs, which have no authorizer.
///
/// # Errors
///
/// [`ApiError::Forbidden`] when the key lacks the scope; [`ApiError::Unauthorized`] when the key is not valid;
/// [`ApiError::Unavailable`] when the keys could not be read.
pub async fn verify(db: &Db, request: &Request, scope: Scope) -> Result<Principal, ApiError> {
    let key = request.header("authorization").and_then(api_keys::in_header).ok_or(ApiError::Unauthorized)?;
    holder(api_keys::find_valid(db, &api_keys::hash(key), clock::now()).await?, scope)
}

/// Returns the caller if the token is valid, and if the key that it was issued to is valid and has the scope.
///
/// # Errors
///
/// As [`verify`].
pub async fn verify_token(db: &Db, token: &str, scope: Scope) -> Result<Principal, ApiError> {
    if !stream_tokens::is_well_formed(token) {
        return Err(ApiError::Unauthorized);
    }
    holder(stream_tokens::find_holder(db, &api_keys::hash(token), clock::now()).await?, scope)
}

fn holder(found: Option<ApiKey>, scope: Scope) -> Result<Principal, ApiError> {
    let found = found.ok_or(ApiError::Unauthorized)?;
    let principal = Principal { key_id: found.id, scopes: found.scopes };
    principal.may(scope)?;
    Ok(principal)
}
