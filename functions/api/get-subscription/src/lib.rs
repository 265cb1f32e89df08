//! GET /subscriptions/{id}: returns a subscription.
//!
//! Reads Postgres (`sms_subscriptions`).

pub use common::service::endpoint::{App, Config};

use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::subscription::Subscription;
use common::service::{caller, subscription};

/// Returns a subscription.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/subscriptions/{id}", tag = "subscriptions",
    operation_id = "get_subscription",
    summary = "Get a subscription",
    description = "Returns a subscription without its secret. Scope: `subscriptions:manage`.",
    params(("id" = uuid::Uuid, Path, description = "Subscription id.")),
    responses(
        (status = 200, description = "The subscription.", body = Subscription, example = json!({
            "id": "01900000-0000-7000-8000-0000000000a1", "url": "https://collections.example/sms-events",
            "queue_arn": null, "event_types": ["message.received", "message.failed"],
            "workflow_type": "collections", "tenant_id": null, "include_unknown": false, "content": false,
            "max_in_flight": 10, "max_hold_seconds": 300, "description": "Collections", "status": "active",
            "disabled_reason": null, "failing_since": null, "previous_secret_until": null,
            "is_replaying": false, "created_at": "2026-11-01T12:00:00Z", "updated_at": "2026-11-01T12:00:00Z"
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::Unavailable,
    ),
    security(("api_key" = ["subscriptions:manage"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::SubscriptionsManage).await?;
    let (found, _) = subscription::find(&app.db, request, &caller).await?;
    http::json(StatusCode::OK, &Subscription::from(found))
}
