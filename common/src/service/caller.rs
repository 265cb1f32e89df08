//! Authorization of the callers of endpoints.
//!
//! The authorizer verifies keys, and the gateway caches its result for a minute, also the result "could not read the
//! keys". Postgres may be available again by then, so an endpoint, which needs Postgres anyway, verifies such a key
//! itself.

use crate::clock;
use crate::db::{Db, api_keys};
use crate::http::{ApiError, HttpRequestExt, Principal, Request, Scope};

/// Returns the caller if its key has the scope.
///
/// # Errors
///
/// [`ApiError::Forbidden`] when the key lacks the scope; [`ApiError::Unauthorized`] when the key is not valid;
/// [`ApiError::Unavailable`] when neither the authorizer nor this function could read the keys.
pub async fn authorize(db: &Db, request: &Request, scope: Scope) -> Result<Principal, ApiError> {
    if !request.is_unverified() {
        return request.authorize(scope);
    }
    let key = request.header("authorization").and_then(api_keys::in_header).ok_or(ApiError::Unauthorized)?;
    let found = api_keys::find_valid(db, &api_keys::hash(key), clock::now()).await?;
    let found = found.ok_or(ApiError::Unauthorized)?;
    let principal = Principal { key_id: found.id, scopes: found.scopes };
    principal.may(scope)?;
    Ok(principal)
}
