//! POST /templates: stores a message template.
//!
//! Writes Postgres (`sms_templates`, `sms_template_versions`).

pub use common::service::endpoint::{App, Config};

use common::clock;
use common::db::templates::{self, NewVersion};
use common::http::{
    self, ApiError, ErrorEnvelope, Fields, HttpRequestExt, Request, Response, Scope, StatusCode, responses,
};
use common::service::caller;
use common::service::templates::{NewTexts, Template, content, name_taken};
use serde::Serialize;
use utoipa::ToSchema;

/// A new message template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Rent reminder",
    "texts": {
        "en": "Hi {{name}}, your rent of {{amount}} is due on the 1st.",
        "es": "Hola {{name}}, su renta de {{amount}} vence el día 1."
    },
    "fallback": "en"
}))]
pub struct NewTemplate {
    /// Name, unique among the templates.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// Texts by language; at least one.
    pub texts: NewTexts,
    /// Language of the text for recipients for whose languages there is none. Default: `en` if it has a text, else the
    /// first of `es` and `pt`.
    #[schema(pattern = "^(en|es|pt)$")]
    pub fallback: Option<String>,
}

/// Creates a template.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields, 403, 409 when another template has the name, 413, or 503 when Postgres is
/// unavailable.
#[utoipa::path(
    post, path = "/templates", tag = "templates",
    operation_id = "create_template",
    summary = "Create a template",
    description = "Stores a text per language, with variables such as `{{name}}`, for bulk requests. A name of a \
        variable has 1 to 64 ASCII letters, digits and underscores, and starts with a letter. Values are inserted as \
        they are; there is no escaping and no logic. If the response is lost, repeating the request returns 409, and \
        `GET /templates` has the template. Scope: `messages:send`.",
    request_body = NewTemplate,
    responses(
        (status = 201, description = "The template.", body = Template),
        responses::InvalidRequest,
        responses::MissingScope,
        (status = 409, description = "`sms.conflict`: another template has this name.", body = ErrorEnvelope),
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:send"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let mut fields = Fields::from_slice(request.payload()?)?;
    let given = content(&mut fields);
    let (name, texts) = fields.finish_with(given)?;
    let (id, created_at) = (clock::new_id().into(), clock::now());
    let new = NewVersion { id, name, texts, api_key_id: caller.key_id, created_at };
    let created = templates::create(&app.db, &new).await?.ok_or_else(name_taken)?;
    tracing::info!(template_id = %created.id, "template created");
    http::json(StatusCode::CREATED, &Template::from(created))
}
