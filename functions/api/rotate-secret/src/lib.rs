//! POST /subscriptions/{id}/rotate-secret: replaces the secret that signs the events of a subscription.
//!
//! Writes Postgres (`sms_subscriptions`).

pub use common::service::endpoint::{App, Config};

use common::db::subscriptions;
use common::http::{self, ApiError, Fields, HttpRequestExt, Request, Response, Scope, StatusCode, responses};
use common::service::subscription::{MAX_GRACE_SECONDS, SubscriptionWithSecret};
use common::service::{caller, subscription};
use common::{clock, subscribers};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Default of `grace_seconds`: one day.
const GRACE_SECONDS: i32 = 86_400;

/// How the secret is replaced. The body may be empty or `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"grace_seconds": 3600}))]
pub struct SecretRotation {
    /// Seconds for which events are also signed with the previous secret. Default: 86400, one day.
    #[schema(minimum = 0, maximum = 604800)]
    pub grace_seconds: Option<i32>,
}

/// Replaces the secret of a subscription.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id or field, 403, 404, 413, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/subscriptions/{id}/rotate-secret", tag = "subscriptions",
    operation_id = "rotate_secret",
    summary = "Rotate a subscription's secret",
    description = "Replaces the secret and returns the new one. For `grace_seconds`, `webhook-signature` has two \
        signatures: of the new and of the previous secret. A secret before the previous one is no longer used. Scope: \
        `subscriptions:manage`.",
    params(("id" = uuid::Uuid, Path, description = "Subscription id.")),
    request_body(content = Option<SecretRotation>, example = json!({"grace_seconds": 3600})),
    responses(
        (status = 200, description = "The subscription, with its new secret.", body = SubscriptionWithSecret),
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
    let (id, grace) = (subscription::id(request)?, grace(request.payload()?)?);
    let (secret, now) = (subscribers::new_secret(), clock::now());
    let owner = subscription::owner(&caller);
    let rotated = subscriptions::rotate(&app.db, id, owner, &secret, now + grace, now).await?;
    let rotated = rotated.ok_or_else(subscription::not_found)?;
    tracing::info!(subscription_id = %id, "secret rotated");
    http::json(StatusCode::OK, &SubscriptionWithSecret::new(rotated, secret))
}

fn grace(body: &[u8]) -> Result<Duration, ApiError> {
    let is_absent = [b"".as_slice(), b"null"].contains(&body.trim_ascii());
    let mut fields = Fields::from_slice(if is_absent { b"{}" } else { body })?;
    let seconds = fields.number("grace_seconds", 0..=MAX_GRACE_SECONDS).unwrap_or(GRACE_SECONDS);
    let grace = Duration::from_secs(seconds.unsigned_abs().into());
    Ok(fields.finish_with(Some(grace))?)
}
