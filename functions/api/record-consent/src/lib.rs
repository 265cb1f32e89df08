//! POST /conversations/{phone_number}/consent: records consent that was given or revoked on paper, by phone or by mail.
//!
//! Reads and writes Postgres (`sms_opt_out_events`, `sms_conversations`, `sms_events_pending`) in one transaction.
//! After an opt-out was recorded, no call to Twilio for the number starts.

mod request;

pub use common::service::conversation::InitError;
pub use request::ConsentRequest;

use common::clock;
use common::config::{Configuration, Env};
use common::db::consent::{self, Recorded};
use common::http::{self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, responses};
use common::service::consent::{ConsentEntry, ConsentScopes, RequestedConsent, no_number};
use common::service::{caller, conversation};

/// Why an opt-in that was recorded before is refused.
const SUPERSEDED: &str = "this opt-in was recorded before, and the number has opted out since then; a new opt-in needs \
     evidence of its own";

/// Configuration, read from the environment: [`conversation::Config`] and [`ConsentScopes`].
#[derive(Debug, Clone)]
pub struct Config {
    conversation: conversation::Config,
    scopes: ConsentScopes,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let conversation = conversation::Config::read(env);
        let scopes = ConsentScopes::from_env(env);
        Some(Self { conversation: conversation?, scopes: scopes? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    conversations: conversation::App,
    scopes: ConsentScopes,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] when the function cannot start.
    pub fn init(config: Config) -> Result<Self, InitError> {
        Ok(Self { conversations: conversation::App::init(config.conversation)?, scopes: config.scopes })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.conversations.warm_up().await;
    }
}

/// Records consent.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields, 403, 409 for an opt-in from before an opt-out, 413, or 503 when Postgres
/// is unavailable.
#[utoipa::path(
    post, path = "/conversations/{phone_number}/consent", tag = "consent",
    operation_id = "record_consent",
    summary = "Record an opt-out or opt-in",
    description = "Records consent that was given or revoked elsewhere, and returns its entry in the ledger. An \
        opt-out stops all messages to the number from then on, or with a `scope` those of a workflow or purpose, if \
        the service is configured for that (`CONSENT_SCOPES`). If it is not, all messages stop, and `scope` in the \
        response is `all`. An opt-in ends all opt-outs, or with a `scope` those with the same scope. A number without \
        a conversation gets one. If the latest entry of the number states the same, it is returned again and nothing \
        changes, so a request can be repeated. The `evidence` of an opt-in counts once: it does not end an opt-out \
        that was recorded after it. An opt-in does not end a block by Twilio after a STOP: the recipient \
        must text START. Scope: `conversations:write`.",
    params(("phone_number" = String, Path, description = "Phone number in any common format, or a short code or \
        alphanumeric sender; percent-encoded.", example = "+12035550123")),
    request_body = ConsentRequest,
    responses(
        (status = 201, description = "The entry.", body = ConsentEntry, example = json!({
            "action": "opt_out", "scope": "all", "source": "paper", "evidence": "Letter of 2026-11-20, scan 4711",
            "recorded_at": "2026-11-21T15:04:05Z", "recorded_by": "01900000-0000-7000-8000-000000000001"
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        (status = 409, description = "`sms.conflict`: this opt-in was recorded before an opt-out, which still applies. \
            A new opt-in has evidence of its own.", body = http::ErrorEnvelope, example = json!({"error": {
                "code": "sms.conflict", "message": SUPERSEDED, "details": [],
                "request_id": "01900000-0000-7000-8000-0000000000e1", "timestamp": "2026-11-01T12:00:00Z"
            }})),
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("api_key" = ["conversations:write"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let App { conversations: app, scopes } = app;
    let caller = caller::authorize(&app.db, request, Scope::ConversationsWrite).await?;
    let variants = app.variants(request)?;
    let RequestedConsent { consent, is_widened } =
        request::consent(request.payload()?, caller.key_id, *scopes)?;
    let (recipient, refusal) = match app.recipient(request)? {
        Ok(recipient) => (Some(recipient), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let recorded =
        consent::record(&app.db, app.account_sid(), &variants, recipient, &consent, clock::now()).await?;
    let (entry, Recorded { is_superseded }) = recorded.ok_or_else(|| no_number(refusal))?;
    if is_superseded {
        return Err(ApiError::Conflict(SUPERSEDED.into()));
    }
    tracing::info!(action = consent.action.as_str(), is_widened, "consent recorded");
    http::json(StatusCode::CREATED, &ConsentEntry::from(entry))
}
