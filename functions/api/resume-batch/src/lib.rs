//! POST /sms/bulk/{batch_id}/resume: continues a paused batch.
//!
//! Reads and writes Postgres (`sms_batches`, `sms_messages`, `sms_senders`; reads `sms_batch_counts`). Puts wake-ups of
//! the senders on `[outbound]` (`OUTBOUND_QUEUE_URL`). Messages are made due again in steps; what does not fit into the
//! time limit, and wake-ups that SQS does not accept, are left to the sweep.

pub use common::service::batch::BatchProgress;

use common::clock;
use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, senders};
use common::domain::batch::BatchAction;
use common::domain::ids::BatchId;
use common::error::chain;
use common::http::{self, ApiError, ErrorEnvelope, Request, Response, Scope, StatusCode, responses};
use common::queue::{Publisher, PublisherConfig};
use common::service::wake_ups::{self, QueuedWakeUp, WakeUpError};
use common::service::{batch, caller};
use std::time::{Duration, Instant};

/// How long a request makes messages due again.
const BUDGET: Duration = Duration::from_secs(10);

/// Configuration, read from the environment: the variables of [`DatabaseConfig`] and [`PublisherConfig`], and
/// `OUTBOUND_QUEUE_URL`.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    publisher: PublisherConfig,
    queue_url: String,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::for_answers(env);
        let publisher = PublisherConfig::from_env(env);
        let queue_url = env.url("OUTBOUND_QUEUE_URL");
        Some(Self { database: database?, publisher: publisher?, queue_url: queue_url?.into() })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    db: Db,
    publisher: Publisher,
    queue_url: String,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS cannot be configured.
    pub fn init(config: &Config) -> Result<Self, DbError> {
        let publisher = Publisher::new(config.publisher.clone());
        Ok(Self { db: Db::new(&config.database)?, publisher, queue_url: config.queue_url.clone() })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// Resumes a batch.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, 409, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/sms/bulk/{batch_id}/resume", tag = "bulk",
    operation_id = "resume_batch",
    summary = "Resume a batch",
    description = "Continues a paused batch. A message without `send_before` has its whole time again until it \
        expires. In a large batch, some messages may wait for up to a minute. A repetition changes nothing. \
        Scope: `messages:send`.",
    params(("batch_id" = uuid::Uuid, Path, description = "Batch id.")),
    responses(
        (status = 200, description = "The progress of the batch.", body = BatchProgress, example = json!({
            "batch_id": "01900000-0000-7000-8000-000000000001", "status": "running", "total": 240,
            "by_status": {"delivered": 180, "pending": 60}, "segments": 310
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        (status = 409, description = "`sms.conflict`: the batch was cancelled, or every message has its final status.",
            body = ErrorEnvelope),
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:send"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let id = batch::id(request)?;
    batch::change(&app.db, id, BatchAction::Resume).await?;
    if let Err(error) = continue_sending(app, id).await {
        let error = chain(&error);
        tracing::warn!(batch_id = %id, error, "could not resume all messages, leaving them to the sweep");
    }
    http::json(StatusCode::OK, &batch::progress(&app.db, id).await?)
}

/// Makes the messages due and wakes their senders.
async fn continue_sending(app: &App, id: BatchId) -> Result<(), WakeUpError> {
    batch::resume(&app.db, id, Instant::now() + BUDGET).await?;
    let due = senders::wake(&app.db, clock::now()).await?;
    let wake_ups = due.into_iter().map(|(wake_up, delay)| QueuedWakeUp { wake_up, delay, hops: 0 }).collect();
    wake_ups::publish(&app.db, &app.publisher, &app.queue_url, wake_ups).await?;
    Ok(())
}
