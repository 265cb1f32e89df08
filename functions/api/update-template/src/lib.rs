//! PUT /templates/{id}: stores a new version of a message template.
//!
//! Reads and writes Postgres (`sms_templates`, `sms_template_versions`) in one statement.

pub use common::service::endpoint::{App, Config};

use common::clock;
use common::db::templates::{self, NewVersion, Replaced};
use common::http::{
    self, ApiError, ErrorEnvelope, Fields, HttpRequestExt, Request, Response, Scope, StatusCode, responses,
};
use common::service::caller;
use common::service::templates::{NewTexts, Template, content, id, name_taken, not_found};
use serde::Serialize;
use utoipa::ToSchema;

/// The name and the texts that replace those of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Rent reminder",
    "texts": {
        "en": "Hi {{name}}, {{amount}} rent is due on the 1st.",
        "es": "Hola {{name}}, {{amount}} de renta vence el día 1."
    },
    "fallback": "en",
    "version": 1
}))]
pub struct TemplateReplacement {
    /// Name, unique among the templates.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// Texts by language; at least one. A language that is left out has no text any more.
    pub texts: NewTexts,
    /// Language of the text for recipients for whose languages there is none. Default: `en` if it has a text, else the
    /// first of `es` and `pt`.
    #[schema(pattern = "^(en|es|pt)$")]
    pub fallback: Option<String>,
    /// The current version, as it was read. If there is another one by now, the request fails. Default: any.
    #[schema(minimum = 1)]
    pub version: Option<i32>,
}

/// Replaces a template.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields, 403, 404, 409 when another template has the name or `version` is not the
/// current one, 413, or 503 when Postgres is unavailable.
#[utoipa::path(
    put, path = "/templates/{id}", tag = "templates",
    operation_id = "update_template",
    summary = "Replace a template",
    description = "Stores a new version, also if nothing is different. Earlier versions stay as they are. With \
        `version`, no change of somebody else is overwritten. Scope: `messages:send`.",
    params(("id" = uuid::Uuid, Path, description = "Template id.")),
    request_body = TemplateReplacement,
    responses(
        (status = 200, description = "The new version.", body = Template),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        (status = 409, description = "`sms.conflict`: another template has this name, or `version` is not the \
            current one.", body = ErrorEnvelope),
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:send"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let id = id(request)?;
    let mut fields = Fields::from_slice(request.payload()?)?;
    let given = content(&mut fields);
    let expected = fields.number("version", 1..=i32::MAX);
    let (name, texts) = fields.finish_with(given)?;
    let new = NewVersion { id, name, texts, api_key_id: caller.key_id, created_at: clock::now() };
    match templates::replace(&app.db, &new, expected).await? {
        Replaced::Done(replaced) => {
            tracing::info!(template_id = %id, version = replaced.version, "template replaced");
            http::json(StatusCode::OK, &Template::from(replaced))
        }
        Replaced::NotFound => Err(not_found()),
        Replaced::NameTaken => Err(name_taken()),
        Replaced::OtherVersion { current } => {
            Err(ApiError::Conflict(format!("the current version is {current}").into()))
        }
    }
}
