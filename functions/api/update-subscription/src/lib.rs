//! PATCH /subscriptions/{id}: changes a subscription.
//!
//! Reads and writes Postgres (`sms_subscriptions`, `sms_delivery_streams`). A new destination must pass the challenge
//! first.

mod request;

pub use common::service::subscription::{Sending as App, SendingConfig as Config};
pub use request::SubscriptionChanges;

use common::clock;
use common::db::subscriptions;
use common::http::{self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use common::service::subscription::{self, Subscription, not_found, owner};

/// Changes a subscription.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields, or with the reason why the new destination was not verified; 403, 404,
/// 413, or 503 when Postgres is unavailable.
#[utoipa::path(
    patch, path = "/subscriptions/{id}", tag = "subscriptions",
    operation_id = "update_subscription",
    summary = "Change a subscription",
    description = "Changes the given fields. A new URL must pass the challenge, signed with the current secret; \
        undelivered events then go to it. Changed filters apply to events that are not claimed for delivery yet. \
        Scope: `subscriptions:manage`.",
    params(("id" = uuid::Uuid, Path, description = "Subscription id.")),
    request_body = SubscriptionChanges,
    responses(
        (status = 200, description = "The changed subscription.", body = Subscription),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("api_key" = ["subscriptions:manage"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::SubscriptionsManage).await?;
    let id = subscription::id(request)?;
    let fields = request::parse(request.payload()?)?;
    let (stored, secrets) = subscription::find(&app.db, request, &caller).await?;
    let moves_to = fields.destination.clone().filter(|given| !request::is_destination_of(given, &stored));
    if let (Some(destination), Some(secret)) = (&moves_to, secrets.first()) {
        app.verify(destination, secret).await?;
    }
    let changes = request::changes(fields, moves_to.as_ref());
    let changed = subscriptions::update(&app.db, id, owner(&caller), &changes, clock::now()).await?;
    let changed = changed.ok_or_else(not_found)?;
    tracing::info!(subscription_id = %changed.id, has_new_destination = moves_to.is_some(), "subscription changed");
    http::json(StatusCode::OK, &Subscription::from(changed))
}
