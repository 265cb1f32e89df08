//! GET /subscriptions: lists the subscriptions of the caller's key, or all for `admin`.
//!
//! Reads Postgres (`sms_subscriptions`).

pub use common::service::endpoint::{App, Config};

use common::db::subscriptions;
use common::http::{
    self, ApiError, HttpRequestExt, Parameters, Request, Response, Scope, StatusCode, responses,
};
use common::service::caller;
use common::service::subscription::{Cursor, Subscription, owner};
use serde::Serialize;
use utoipa::ToSchema;

/// Default number of subscriptions per page.
const DEFAULT_LIMIT: u32 = 100;
/// Maximum number of subscriptions per page: at most about 1 MB.
const MAX_LIMIT: u32 = 1000;

/// A page of subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "subscriptions": [{"id": "01900000-0000-7000-8000-0000000000a1",
        "url": "https://collections.example/sms-events", "queue_arn": null, "event_types": ["message.received"],
        "workflow_type": null, "tenant_id": null, "include_unknown": false, "content": false, "max_in_flight": 10,
        "max_hold_seconds": 300, "description": null, "status": "active", "disabled_reason": null,
        "failing_since": null, "previous_secret_until": null, "is_replaying": false,
    "created_at": "2026-11-01T12:00:00Z", "updated_at": "2026-11-01T12:00:00Z"}], "limit": 100, "next_cursor": null
}))]
pub struct SubscriptionList {
    /// Subscriptions, newest first.
    pub subscriptions: Vec<Subscription>,
    /// Maximum number of subscriptions per page.
    pub limit: u32,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// Lists subscriptions.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid parameters, 403, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/subscriptions", tag = "subscriptions",
    operation_id = "list_subscriptions",
    summary = "List subscriptions",
    description = "Returns the subscriptions of the key, newest first, without their secrets; with the scope `admin` \
        those of all keys. Scope: `subscriptions:manage`.",
    params(
        ("cursor" = Option<String>, Query, min_length = 1, description = "The `next_cursor` of the previous page."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Per page; default 100."),
    ),
    responses(
        (status = 200, description = "A page of subscriptions.", body = SubscriptionList),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::Unavailable,
    ),
    security(("api_key" = ["subscriptions:manage"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::SubscriptionsManage).await?;
    let mut given = Parameters::read(request.query(), &["cursor", "limit"]);
    let before = given.parse::<Cursor>("cursor").map(|cursor| cursor.0.into());
    let limit = given.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
    given.check()?;
    let mut found = subscriptions::list(&app.db, owner(&caller), before, i64::from(limit) + 1).await?;
    let next_cursor = Cursor::of_page(&mut found, limit, |subscription| *subscription.id.uuid());
    let subscriptions = found.into_iter().map(Subscription::from).collect();
    http::json(StatusCode::OK, &SubscriptionList { subscriptions, limit, next_cursor })
}
