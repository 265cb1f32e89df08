//! Who calls an endpoint, and whether its key allows what it asks for.
//!
//! The authorizer has looked the key up, and the gateway keeps its answer for a minute. It keeps "could not be read" for as
//! long, when Postgres has been back for most of it: so an endpoint, which needs Postgres anyway, then looks for itself.

use common::clock;
use common::db::{Db, api_keys};
use common::http::{ApiError, Principal, Request, Scope};

/// Returns the caller, if its key carries the scope.
///
/// # Errors
///
/// [`ApiError::Forbidden`] when the key lacks the scope; [`ApiError::Unauthorized`] when it is none of ours;
/// [`ApiError::Unavailable`] when neither the authorizer nor this could read the keys.
pub async fn authorize(db: &Db, request: &Request, scope: Scope) -> Result<Principal, ApiError> {
    if !request.is_unverified() {
        return request.authorize(scope).cloned();
    }
    let key = request.header("authorization").and_then(api_keys::in_header).ok_or(ApiError::Unauthorized)?;
    let found = api_keys::find_valid(db, &api_keys::hash(key), clock::now()).await?;
    let found = found.ok_or(ApiError::Unauthorized)?;
    let principal = Principal { key_id: found.id, scopes: found.scopes };
    principal.may(scope)?;
    Ok(principal)
}
