//! POST /subscriptions/{id}/enable: enables a disabled subscription after a successful test delivery.
//!
//! Reads and writes Postgres (`sms_subscriptions`, `sms_delivery_streams`), and sends one request.

pub use common::service::subscription::{Sending as App, SendingConfig as Config};

use common::clock;
use common::db::{events, subscriptions};
use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::subscription::{Subscription, TestResult};
use common::service::{caller, subscription};

/// Enables a subscription.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, 409 when the test delivery failed, or 503 when Postgres is
/// unavailable.
#[utoipa::path(
    post, path = "/subscriptions/{id}/enable", tag = "subscriptions",
    operation_id = "enable_subscription",
    summary = "Enable a subscription",
    description = "Sends a signed event of the type `subscription.test`. If it is accepted, a disabled subscription is \
        active again: delivery continues within a minute where it ended, and no event is skipped. For an active \
        subscription nothing else changes. Scope: `subscriptions:manage`.",
    params(("id" = uuid::Uuid, Path, description = "Subscription id.")),
    responses(
        (status = 200, description = "The active subscription.", body = Subscription),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        (status = 409, description = "`sms.conflict`: the test delivery failed; the message has the reason.",
            body = http::ErrorEnvelope),
        responses::Unavailable,
    ),
    security(("api_key" = ["subscriptions:manage"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::SubscriptionsManage).await?;
    let (found, secrets) = subscription::find(&app.db, request, &caller).await?;
    let result = app.test(&found, &secrets).await?;
    if !result.is_delivered {
        return Err(ApiError::Conflict(reason(result).into()));
    }
    events::number(&app.db).await?;
    let is_resumed = subscriptions::resume(&app.db, found.id, clock::now()).await?;
    tracing::info!(subscription_id = %found.id, is_resumed, "subscription enabled");
    let (enabled, _) = subscription::find(&app.db, request, &caller).await?;
    http::json(StatusCode::OK, &Subscription::from(enabled))
}

fn reason(result: TestResult) -> String {
    format!("the test delivery failed: {}", result.delivery.error.unwrap_or_default())
}
