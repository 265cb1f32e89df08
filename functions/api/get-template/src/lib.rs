//! GET /templates/{id}: returns a message template.
//!
//! Reads Postgres (`sms_templates`, `sms_template_versions`).

pub use common::service::endpoint::{App, Config};

use common::db::templates;
use common::http::{
    self, ApiError, HttpRequestExt, Parameters, Request, Response, Scope, StatusCode, responses,
};
use common::service::caller;
use common::service::templates::{Template, id, not_found};

/// Returns a template.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id or version, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/templates/{id}", tag = "templates",
    operation_id = "get_template",
    summary = "Get a template",
    description = "Returns the current version of a template, or an earlier one. Scope: `messages:read`.",
    params(
        ("id" = uuid::Uuid, Path, description = "Template id."),
        ("version" = Option<i32>, Query, minimum = 1, description = "Version; default: the current one."),
    ),
    responses(
        (status = 200, description = "The template.", body = Template),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesRead).await?;
    let id = id(request)?;
    let mut given = Parameters::read(request.query(), &["version"]);
    let version = given.number("version", 1, i32::MAX.unsigned_abs());
    given.check()?;
    let version = version.map(i32::try_from).transpose().map_err(ApiError::internal)?;
    let found = templates::find(&app.db, id, version).await?.ok_or_else(not_found)?;
    http::json(StatusCode::OK, &Template::from(found))
}
