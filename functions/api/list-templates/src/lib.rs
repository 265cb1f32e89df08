//! GET /templates: lists message templates.
//!
//! Reads Postgres (`sms_templates`, `sms_template_versions`).

pub use common::service::endpoint::{App, Config};

use common::db::templates;
use common::http::{
    self, ApiError, HttpRequestExt, Parameters, Request, Response, Scope, StatusCode, responses,
};
use common::service::caller;
use common::service::subscription::Cursor;
use common::service::templates::Template;
use serde::Serialize;
use utoipa::ToSchema;

/// Default number of templates per page.
const DEFAULT_LIMIT: u32 = 20;
/// Maximum number of templates per page: about 3 MB if all three texts have 1600 characters of the worst kind.
const MAX_LIMIT: u32 = 100;

/// A page of templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "templates": [{"id": "01900000-0000-7000-8000-0000000000f1", "name": "Rent reminder", "version": 1,
        "texts": {"en": "Hi {{name}}, your rent is due on the 1st."}, "fallback": "en", "variables": ["name"],
        "segments": {"en": {"encoding": "GSM-7", "segments": 1}}, "created_at": "2026-11-01T12:00:00Z",
    "updated_at": "2026-11-01T12:00:00Z"}], "next_cursor": null
}))]
pub struct TemplateList {
    /// Current versions of the templates, newest template first.
    pub templates: Vec<Template>,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// Lists templates.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid parameters, 403, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/templates", tag = "templates",
    operation_id = "list_templates",
    summary = "List templates",
    description = "Returns the current versions of all templates, newest template first. Scope: `messages:read`.",
    params(
        ("cursor" = Option<String>, Query, min_length = 1, description = "The `next_cursor` of the previous page."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Per page; default 20."),
    ),
    responses(
        (status = 200, description = "A page of templates; empty if there are none.", body = TemplateList),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesRead).await?;
    let mut given = Parameters::read(request.query(), &["cursor", "limit"]);
    let before = given.parse::<Cursor>("cursor").map(|cursor| cursor.0.into());
    let limit = given.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
    given.check()?;
    let mut found = templates::list(&app.db, before, i64::from(limit) + 1).await?;
    let next_cursor = Cursor::of_page(&mut found, limit, |template| *template.id.uuid());
    let templates = found.into_iter().map(Template::from).collect();
    http::json(StatusCode::OK, &TemplateList { templates, next_cursor })
}
