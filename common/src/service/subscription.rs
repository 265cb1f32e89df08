//! What the endpoints of subscriptions share: who may see a subscription, and its representation.

mod cursor;
mod fields;
mod sending;
mod view;

pub use cursor::Cursor;
pub use fields::{GivenDestination, MAX_GRACE_SECONDS, SubscriptionFields, event_types};
pub use sending::{Config as SendingConfig, InitError, Sending, TestResult};
pub use view::{Delivery, Subscription, SubscriptionWithSecret};

use crate::clock;
use crate::config::Secret;
use crate::db::{Db, subscriptions};
use crate::domain::ids::SubscriptionId;
use crate::http::{ApiError, HttpRequestExt, Principal, Request, Scope, ValidationError};
use uuid::Uuid;

/// Returns the key whose subscriptions a caller sees: its own, or `None` for all.
#[must_use]
pub fn owner(caller: &Principal) -> Option<Uuid> {
    (!caller.has(Scope::Admin)).then_some(caller.key_id)
}

/// Returns the subscription id in a request's path.
///
/// # Errors
///
/// [`ApiError::Validation`] when it is not a UUID.
pub fn id(request: &Request) -> Result<SubscriptionId, ApiError> {
    let id = request.path_parameter("id")?;
    id.parse().map_err(|_| ValidationError::field("id", "is not a UUID").into())
}

/// The error for a subscription that does not exist or belongs to another key.
#[must_use]
pub fn not_found() -> ApiError {
    ApiError::NotFound("the subscription")
}

/// Returns the subscription in a request's path, with the secrets that sign its events now.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id; 404 if it does not exist or belongs to another key; 503.
pub async fn find(
    db: &Db,
    request: &Request,
    caller: &Principal,
) -> Result<(subscriptions::Subscription, Vec<Secret>), ApiError> {
    let found = subscriptions::find(db, id(request)?, owner(caller), clock::now()).await?;
    found.ok_or_else(not_found)
}
