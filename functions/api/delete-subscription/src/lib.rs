//! DELETE /subscriptions/{id}: ends a subscription.
//!
//! Writes Postgres (`sms_subscriptions`, and with it `sms_delivery_streams` and `sms_deliveries`).

pub use common::service::endpoint::{App, Config};

use common::db::subscriptions;
use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::{caller, subscription};

/// Deletes a subscription.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    delete, path = "/subscriptions/{id}", tag = "subscriptions",
    operation_id = "delete_subscription",
    summary = "Delete a subscription",
    description = "Deletes a subscription and its undelivered events. Deliveries that are in flight may still arrive. \
        Scope: `subscriptions:manage`.",
    params(("id" = uuid::Uuid, Path, description = "Subscription id.")),
    responses(
        (status = 204, description = "Deleted."),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::Unavailable,
    ),
    security(("api_key" = ["subscriptions:manage"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::SubscriptionsManage).await?;
    let id = subscription::id(request)?;
    if !subscriptions::delete(&app.db, id, subscription::owner(&caller)).await? {
        return Err(subscription::not_found());
    }
    tracing::info!(subscription_id = %id, "subscription deleted");
    Ok(http::empty(StatusCode::NO_CONTENT))
}
