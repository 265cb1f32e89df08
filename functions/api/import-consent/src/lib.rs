//! POST /consent/import: records consent of many numbers that was given or revoked elsewhere, from JSON or CSV.
//!
//! Reads and writes Postgres (`sms_opt_out_events`, `sms_conversations`, `sms_events_pending`), 500 rows per
//! transaction. If Postgres becomes unavailable or the time is up, the response is 503, and the committed transactions
//! stay. Rows that are stored already change nothing, so a repetition of the request continues.

mod chunks;
mod request;
mod response;
mod table;

pub use common::service::conversation::InitError;
pub use request::{ConsentImportRequest, ConsentImportRow};
pub use response::{ConsentImport, RejectedRow};

use common::config::{Configuration, Env};
use common::http::{
    self, ApiError, ErrorEnvelope, HttpRequestExt, MAX_LIST_BYTES, Request, Response, Scope, StatusCode,
    responses,
};
use common::service::consent::ConsentScopes;
use common::service::{caller, conversation};
use std::time::Duration;
use tokio::time::Instant;

/// Configuration, read from the environment: [`conversation::Config`], [`ConsentScopes`], and `DATABASE_BUDGET_MS`
/// (25000), the time limit of one request. API Gateway times out after 30 s.
#[derive(Debug, Clone)]
pub struct Config {
    conversation: conversation::Config,
    scopes: ConsentScopes,
    database_budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let conversation = conversation::Config::read(env);
        let scopes = ConsentScopes::from_env(env);
        let database_budget = env.millis("DATABASE_BUDGET_MS", 50..=60_000, 25_000);
        Some(Self { conversation: conversation?, scopes: scopes?, database_budget: database_budget? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    conversations: conversation::App,
    scopes: ConsentScopes,
    database_budget: Duration,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] when the function cannot start.
    pub fn init(config: Config) -> Result<Self, InitError> {
        let conversations = conversation::App::init(config.conversation)?;
        Ok(Self { conversations, scopes: config.scopes, database_budget: config.database_budget })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.conversations.warm_up().await;
    }
}

/// Imports consent.
///
/// # Errors
///
/// [`ApiError`]: 400 when the document cannot be read, 403, 413, or 503 when Postgres is unavailable or the time is up.
/// Repeating the request is safe.
#[utoipa::path(
    post, path = "/consent/import", tag = "consent",
    operation_id = "import_consent",
    summary = "Import opt-outs and opt-ins",
    description = "Records consent of up to 10,000 rows, as `POST /conversations/{phone_number}/consent` does for one \
        number. The body is JSON, or CSV with `Content-Type: text/csv`: UTF-8 (a BOM is ignored), separated by commas, \
        with a header line that names the columns `phone_number`, `action`, `source`, `evidence` and optionally \
        `scope`, in any order. Fields with commas, quotes or line breaks are enclosed in double quotes.\n\nAn invalid \
        row is listed in `rejected` and does not stop the others. Rows of one number apply in the order of the file. \
        A row is unchanged if the latest entry of its number states the same (action, scope, source and evidence), \
        or if all rows of its number are the latest entries already, in this order. So the same file imports nothing \
        the second time, unless other entries followed. An opt-in that was recorded before is always unchanged: it \
        does not end an opt-out that was recorded after it.\n\nRows are stored in transactions of 500 in \
        the order of the file; rows of one number are in the same transaction. After a 503 the committed transactions \
        stay, and repeating the request continues with the rest. Scope: `conversations:write`.",
    request_body(
        description = "At most 5 MB.",
        content(
            (ConsentImportRequest = "application/json"),
            (String = "text/csv", example = "phone_number,action,source,evidence\n\
                +12035550123,opt_out,paper,\"Letter of 2026-11-20, scan 4711\"\n\
                (203) 555-0124,opt_in,web,Form 17\n"),
        )
    ),
    responses(
        (status = 200, description = "Every row was imported, unchanged or rejected.", body = ConsentImport,
        example = json!({
            "imported": 2, "unchanged": 1, "rejected": [{"row": 3, "reason": "action must be opt_out or opt_in"}]
        })),
        (status = 413, description = "`sms.payload_too_large`: the body exceeds 5 MB.", body = ErrorEnvelope),
        (status = 503, description = "`sms.unavailable`: some rows may be stored, and `message` says how many. Repeat \
            the request to continue.", body = ErrorEnvelope),
        responses::InvalidRequest,
        responses::MissingScope,
    ),
    security(("api_key" = ["conversations:write"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let until = Instant::now() + app.database_budget;
    let caller = caller::authorize(&app.conversations.db, request, Scope::ConversationsWrite).await?;
    let body = request.payload_up_to(MAX_LIST_BYTES)?;
    let rows = request::rows(request.header("content-type"), body, caller.key_id, app.scopes)?;
    let import = chunks::import(app, rows, until).await?;
    let rejected = import.rejected.len();
    tracing::info!(imported = import.imported, unchanged = import.unchanged, rejected, "consent imported");
    http::json(StatusCode::OK, &import)
}
