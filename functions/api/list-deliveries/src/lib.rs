//! GET /subscriptions/{id}/deliveries: lists attempts to deliver events to a subscription.
//!
//! Reads Postgres (`sms_subscriptions`, `sms_delivery_attempts`).

pub use common::service::endpoint::{App, Config};

use common::db::subscriptions;
use common::http::{
    self, ApiError, HttpRequestExt, Parameters, Request, Response, Scope, StatusCode, responses,
};
use common::service::subscription::{Cursor, Delivery};
use common::service::{caller, subscription};
use serde::Serialize;
use utoipa::ToSchema;

/// Default number of deliveries per page.
const DEFAULT_LIMIT: u32 = 20;
/// Maximum number of deliveries per page: at most about 0.5 MB.
const MAX_LIMIT: u32 = 100;

/// A page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeliveryList {
    /// Attempts, newest first.
    pub deliveries: Vec<Delivery>,
    /// Maximum number of deliveries per page.
    pub limit: u32,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// Lists deliveries.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id or parameter, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/subscriptions/{id}/deliveries", tag = "subscriptions",
    operation_id = "list_deliveries",
    summary = "List deliveries",
    description = "Returns attempts that failed, and those that succeeded after a failure, newest first. An event \
        whose first attempt succeeded is not listed. Attempts are kept for 30 days. Scope: `subscriptions:manage`.",
    params(
        ("id" = uuid::Uuid, Path, description = "Subscription id."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The `next_cursor` of the previous page."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Deliveries per page; default 20."),
    ),
    responses(
        (status = 200, description = "A page of deliveries.", body = DeliveryList, example = json!({
            "deliveries": [{
                "event_id": "01900000-0000-7000-8000-00000000000a", "attempt": 1, "at": "2026-11-01T12:00:00Z",
                "status_code": 500, "error": "status 500", "duration_ms": 35,
                "next_attempt_at": "2026-11-01T12:00:05Z", "response_body": "internal server error"
            }],
            "limit": 20, "next_cursor": null
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
    let mut given = Parameters::read(request.query(), &["cursor", "limit"]);
    let before = given.parse::<Cursor>("cursor").map(|cursor| cursor.0);
    let limit = given.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
    given.check()?;
    let (found, _) = subscription::find(&app.db, request, &caller).await?;
    let mut attempts = subscriptions::attempts(&app.db, found.id, before, i64::from(limit) + 1).await?;
    let next_cursor = Cursor::of_page(&mut attempts, limit, |attempt| attempt.id);
    let deliveries = attempts.into_iter().map(Delivery::from).collect();
    http::json(StatusCode::OK, &DeliveryList { deliveries, limit, next_cursor })
}
