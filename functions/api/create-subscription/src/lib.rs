//! POST /subscriptions: subscribes a URL or an SQS queue to events.
//!
//! Sends a signed challenge to the destination, and writes Postgres (`sms_subscriptions`, `sms_delivery_streams`) if it
//! passes. The subscription begins at the end of the event log.

mod request;

pub use common::service::subscription::{Sending as App, SendingConfig as Config};
pub use request::NewSubscription;

use common::db::{events, subscriptions};
use common::http::{self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use common::service::subscription::SubscriptionWithSecret;
use common::subscribers;

/// Creates a subscription.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields, or with the reason why the destination was not verified; 403, 413, or 503
/// when Postgres is unavailable.
#[utoipa::path(
    post, path = "/subscriptions", tag = "subscriptions",
    operation_id = "create_subscription",
    summary = "Subscribe to events",
    description = "Events after the end of the log are posted to `url` or sent to `queue_arn`, at least once, signed \
        according to [Standard Webhooks](https://www.standardwebhooks.com), and in the order of \
        `conversation_sequence` per conversation. Before it is stored, the URL must pass a challenge: the service \
        posts `{\"type\":\"subscription.verification\",\"timestamp\":…,\"data\":{\"challenge\":\"…\"}}`, signed with \
        the new secret, and expects 2xx with `{\"challenge\":\"…\"}`. Only https and public addresses are allowed; \
        redirects are not followed. Answer events with 2xx within 15 seconds. Scope: `subscriptions:manage`.",
    request_body = NewSubscription,
    responses(
        (status = 201, description = "The subscription, with its secret.", body = SubscriptionWithSecret),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("api_key" = ["subscriptions:manage"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::SubscriptionsManage).await?;
    let (destination, fields) = request::parse(request.payload()?)?;
    let secret = subscribers::new_secret();
    app.verify(&destination, &secret).await?;
    let new = request::subscription(&destination, fields, &caller, &secret);
    events::number(&app.db).await?;
    let created = subscriptions::create(&app.db, &new).await?;
    let created = created.ok_or_else(|| ApiError::internal("the subscription was not stored"))?;
    tracing::info!(subscription_id = %created.id, "subscription created");
    http::json(StatusCode::CREATED, &SubscriptionWithSecret::new(created, secret))
}
