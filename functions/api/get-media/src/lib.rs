//! GET /media/{id}: redirects to a file of an inbound message in object storage.
//!
//! Reads Postgres (`sms_media`). The redirect's URL is signed with the credentials of this function and valid for a
//! minute. A browser saves the file instead of showing it, so that no file can run in a page.

use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, media};
use common::domain::ids::MediaId;
use common::domain::media::{FileType, MediaStatus};
use common::http::{self, ApiError, HttpRequestExt, Request, Response, Scope, ValidationError, responses};
use common::service::caller;
use common::service::media::object_key;
use common::storage::{Storage, StorageConfig, StorageError};
use std::time::Duration;

/// Configuration, read from the environment: [`DatabaseConfig`], and
///
/// - `MEDIA_BUCKET`: where `store-media` stores files.
/// - `MEDIA_URL_SECONDS` (60): how long the URL of a redirect is valid.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    bucket: StorageConfig,
    valid_for: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::for_answers(env);
        let bucket = env.text("MEDIA_BUCKET");
        let valid_for = env.seconds("MEDIA_URL_SECONDS", 1..=3_600, 60);
        let bucket = StorageConfig::for_bucket(&bucket?);
        Some(Self { database: database?, bucket, valid_for: valid_for? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    db: Db,
    storage: Storage,
    valid_for: Duration,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The settings of Postgres.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The client of object storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] when the function cannot start.
    pub fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        Ok(Self { db, storage: Storage::new(&config.bucket)?, valid_for: config.valid_for })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// Redirects to a file.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, 409 for a file that is not stored, or 503 when Postgres is
/// unavailable.
#[utoipa::path(
    get, path = "/media/{id}", tag = "messages",
    operation_id = "get_media",
    summary = "Get a file of an inbound message",
    description = "Redirects to a URL that is valid for a minute and returns the file as a download, with the type of \
                   its bytes. The ids are in `media` of a message and in the event `media.stored`. Do not send the API \
                   key to the URL. Scope: `conversations:read`.",
    params(("id" = uuid::Uuid, Path, description = "File id.")),
    responses(
        (status = 302, description = "The file is at the URL in `location`.", headers(
            ("location" = String, description = "URL of the file, valid for a minute."),
            ("cache-control" = String, description = "`no-store`"),
        )),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        (status = 409, description = "`sms.conflict`: the file is not stored yet, or could not be stored. The `status` \
            in `media` of the message tells which.", body = http::ErrorEnvelope, example = json!({"error": {
                "code": "sms.conflict", "message": "the file is not stored yet", "details": [],
                "request_id": "01900000-0000-7000-8000-0000000000e1", "timestamp": "2026-11-01T12:00:00Z"
            }})),
        responses::Unavailable,
    ),
    security(("api_key" = ["conversations:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::ConversationsRead).await?;
    let id = id(request)?;
    let file = media::find(&app.db, id).await?.ok_or(ApiError::NotFound("the file"))?;
    let file_type = match (file.status, file.content_type.as_deref().and_then(FileType::of)) {
        (MediaStatus::Stored, Some(file_type)) => file_type,
        (MediaStatus::Pending, _) => return Err(ApiError::Conflict("the file is not stored yet".into())),
        _ => return Err(ApiError::Conflict("the file could not be stored".into())),
    };
    let name = format!("{id}.{}", file_type.extension);
    let url =
        app.storage.presigned_get(&object_key(id), app.valid_for, file_type.content_type, &name).await?;
    http::redirect(url.as_str())
}

fn id(request: &Request) -> Result<MediaId, ApiError> {
    let id = request.path_parameter("id")?;
    id.parse().map_err(|_| ValidationError::field("id", "is not a UUID").into())
}
