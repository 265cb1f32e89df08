//! DELETE /templates/{id}: deletes a message template.
//!
//! Writes Postgres (`sms_templates`).

pub use common::service::endpoint::{App, Config};

use common::clock;
use common::db::templates;
use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use common::service::templates::{id, not_found};

/// Deletes a template.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    delete, path = "/templates/{id}", tag = "templates",
    operation_id = "delete_template",
    summary = "Delete a template",
    description = "Deletes a template with all its versions. Another template can have its name then. Messages that \
        were accepted before are sent. Scope: `messages:send`.",
    params(("id" = uuid::Uuid, Path, description = "Template id.")),
    responses(
        (status = 204, description = "Deleted."),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:send"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let id = id(request)?;
    if !templates::delete(&app.db, id, clock::now()).await? {
        return Err(not_found());
    }
    tracing::info!(template_id = %id, "template deleted");
    Ok(http::empty(StatusCode::NO_CONTENT))
}
