//! POST /subscriptions/{id}/test: sends a test event to the destination of a subscription.
//!
//! Reads Postgres (`sms_subscriptions`), and sends one request.

pub use common::service::subscription::{Sending as App, SendingConfig as Config};

use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::subscription::TestResult;
use common::service::{caller, subscription};

/// Sends a test event.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/subscriptions/{id}/test", tag = "subscriptions",
    operation_id = "test_subscription",
    summary = "Send a test event",
    description = "Sends a signed event of the type `subscription.test` once, also if the subscription is disabled, \
        and returns the result of the attempt. Scope: `subscriptions:manage`.",
    params(("id" = uuid::Uuid, Path, description = "Subscription id.")),
    responses(
        (status = 200, description = "The result of the attempt, successful or not.", body = TestResult,
        example = json!({
            "is_delivered": false, "event_id": "01900000-0000-7000-8000-00000000000a", "attempt": 1,
            "at": "2026-11-01T12:00:00Z", "status_code": 500, "error": "status 500", "duration_ms": 35,
            "next_attempt_at": null, "response_body": "internal server error"
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
    let (found, secrets) = subscription::find(&app.db, request, &caller).await?;
    let result = app.test(&found, &secrets).await?;
    tracing::info!(subscription_id = %found.id, is_delivered = result.is_delivered, "subscription tested");
    http::json(StatusCode::OK, &result)
}
