//! POST /subscriptions/{id}/replay: delivers events of the past to a subscription again.
//!
//! Reads Postgres (`sms_subscriptions`, `sms_events`, and `sms_events_pending`, which it numbers) and writes
//! `sms_delivery_streams`. The workers deliver the events next to the live ones, at their own rate.

mod request;

pub use common::service::endpoint::{App, Config};
pub use request::{ReplayRequest, Start};

use common::db::subscriptions::{Replay, Started, Subscription};
use common::db::{Db, events, subscriptions};
use common::domain::event::EventType;
use common::domain::subscription::SubscriptionStatus;
use common::http::{
    self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, ValidationError, responses,
};
use common::service::events::{Cursor, NotACursor};
use common::service::{caller, subscription};
use serde::Serialize;
use utoipa::ToSchema;

/// A replay that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StartedReplay {
    /// Cursor after which it begins, as in `GET /events`.
    pub after: String,
    /// Cursor of the last event that it may contain. Later events are delivered anyway.
    pub until: String,
    /// Types of its events; all of the subscription if the list is empty.
    #[schema(value_type = Vec<String>)]
    pub types: Vec<EventType>,
}

/// Starts a replay.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields, 403, 404, 409 when another replay runs or the subscription is disabled,
/// 413, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/subscriptions/{id}/replay", tag = "subscriptions",
    operation_id = "replay_events",
    summary = "Replay events",
    description = "Delivers events of the past again that match the subscription, with their original ids and bodies, \
        up to the current end of the log. Live events are delivered at the same time and are not delayed. Events that \
        are older than the oldest kept event are skipped. Scope: `subscriptions:manage`.",
    params(("id" = uuid::Uuid, Path, description = "Subscription id.")),
    request_body = ReplayRequest,
    responses(
        (status = 202, description = "The replay runs.", body = StartedReplay, example = json!({
            "after": "AQAAAAAAAAAqzcg7Ng", "until": "AQAAAAAAAAAqzcg7Ng", "types": ["message.received"]
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        (status = 409, description = "`sms.conflict`: another replay runs, or the subscription is disabled.",
            body = http::ErrorEnvelope),
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("api_key" = ["subscriptions:manage"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::SubscriptionsManage).await?;
    subscription::id(request)?;
    let (start, types) = request::parse(request.payload()?)?;
    let (found, _) = subscription::find(&app.db, request, &caller).await?;
    request::check_types(&types, &found.event_types)?;
    check_state(&found)?;
    let until = events::number(&app.db).await?.last_position;
    let after = position(&app.db, start, until).await?;
    let replay = Replay { subscription_id: found.id, after, until, types };
    // Without events there is nothing to deliver.
    let started =
        if after < until { subscriptions::start_replay(&app.db, &replay).await? } else { Started::Now };
    match started {
        Started::Now => tracing::info!(subscription_id = %found.id, events = until - after, "replay started"),
        Started::AlreadyRunning => return Err(already_running()),
        Started::NotActive => return Err(not_active()),
    }
    let (after, until) = (Cursor::at(after).to_string(), Cursor::at(until).to_string());
    http::json(StatusCode::ACCEPTED, &StartedReplay { after, until, types: replay.types })
}

fn check_state(found: &Subscription) -> Result<(), ApiError> {
    match found.status {
        SubscriptionStatus::Disabled => Err(not_active()),
        SubscriptionStatus::Active if found.is_replaying => Err(already_running()),
        SubscriptionStatus::Active => Ok(()),
    }
}

fn already_running() -> ApiError {
    ApiError::Conflict("another replay of this subscription runs".into())
}

fn not_active() -> ApiError {
    ApiError::Conflict("the subscription is disabled; enable it first".into())
}

/// Returns the position after which a replay begins.
async fn position(db: &Db, start: Start, until: i64) -> Result<i64, ApiError> {
    match start {
        Start::After(cursor) if cursor.position() > until => {
            Err(ValidationError::field("after", NotACursor.to_string()).into())
        }
        Start::After(cursor) => Ok(cursor.position()),
        Start::Since(since) => {
            let first = subscriptions::first_since(db, since).await?;
            Ok(first.map_or(until, |first| (first - 1).min(until)))
        }
    }
}
