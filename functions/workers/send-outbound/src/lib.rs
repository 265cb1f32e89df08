//! Consumer of `[outbound]`: claims each message, hands it to Twilio, and records what came of it.
//!
//! Reads and writes Postgres, calls Twilio. A claim is committed before the call, so a message that comes twice, or
//! to two functions at once, is called for once; whoever dies in between leaves a claim that the sweep turns into
//! `unknown`, never into a second call.

mod plan;

pub use plan::RetryPolicy;

use common::clock;
use common::config::{ConfigError, Env};
use common::db::sends::{self, Claimed, OPTED_OUT, Outcome};
use common::db::{DatabaseConfig, Db, DbError, statuses};
use common::domain::message::Status;
use common::queue::{Batch, DispatchMessage};
use common::telemetry::{self, Metric};
use common::twilio::{
    ClientError, CreateMessage, Message, RenewalPolicy, SendError, SendOutcome, Sender, TwilioClient,
    TwilioConfig, status_callback_url,
};
use std::collections::HashMap;
use std::time::Duration;
use tracing::Instrument;
use uuid::Uuid;

/// How often an outcome is tried to be recorded: the call is done, and only this keeps its result.
const RECORD_TRIES: u32 = 5;

/// What the function is told by its environment.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    twilio: TwilioConfig,
    callback_base_url: String,
    retry: RetryPolicy,
    renewals: RenewalPolicy,
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming every variable at fault.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(&common::config::process)
    }

    /// Reads what `lookup` knows: what [`DatabaseConfig`], [`TwilioConfig`], [`RetryPolicy`] and [`RenewalPolicy`] read, and
    /// `PUBLIC_WEBHOOK_BASE_URL`, whose first entry is where Twilio reports the status.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming every variable at fault.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut env = Env::new(lookup);
        let database = DatabaseConfig::from_env(&mut env);
        let twilio = TwilioConfig::from_env(&mut env);
        let base_urls = env.base_urls("PUBLIC_WEBHOOK_BASE_URL");
        let retry = RetryPolicy::from_env(&mut env);
        let renewals = RenewalPolicy::from_env(&mut env);
        env.finish(|| {
            Some(Self {
                database: database?,
                twilio: twilio?,
                callback_base_url: base_urls?.into_iter().next()?,
                retry: retry?,
                renewals: renewals?,
            })
        })
    }
}

/// What is built once and borrowed by every batch.
#[derive(Debug)]
pub struct App {
    db: Db,
    twilio: TwilioClient,
    callback_base_url: String,
    retry: RetryPolicy,
    renewals: RenewalPolicy,
}

/// Why the function can't start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Postgres can't be spoken to.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Twilio can't be spoken to.
    #[error(transparent)]
    Twilio(#[from] ClientError),
}

impl App {
    /// Builds it, and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] when Postgres or Twilio can't be spoken to at all. Their being away is no error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let twilio = TwilioClient::new(config.twilio)?;
        db.warm_up().await;
        Ok(Self {
            db,
            twilio,
            callback_base_url: config.callback_base_url,
            retry: config.retry,
            renewals: config.renewals,
        })
    }
}

/// Claims a batch and sends what was claimed, all at once.
///
/// A message that can't be claimed is somebody else's, or done: its record succeeds.
pub async fn handle(app: &App, mut batch: Batch<DispatchMessage>) -> Batch<DispatchMessage> {
    let ids: Vec<Uuid> = batch
        .records
        .iter()
        .map(|record| {
            let DispatchMessage::V1(dispatch) = record.message;
            dispatch.message_id
        })
        .collect();
    if ids.is_empty() {
        return batch;
    }
    let request_ids: HashMap<Uuid, String> =
        ids.iter().copied().zip(batch.records.iter().map(|record| record.request_id.clone())).collect();
    match sends::claim(&app.db, &ids, clock::now()).await {
        Ok((claims, refused)) => {
            telemetry::count(Metric::Duplicates, ids.len().saturating_sub(claims.len() + refused.len()));
            telemetry::count(Metric::SendsFailed, refused.len());
            let request = |id: &Uuid| telemetry::request(request_ids.get(id).map_or("", String::as_str));
            for message_id in refused {
                let _request = request(&message_id).entered();
                tracing::info!(%message_id, "not sent: its recipient has opted out, or its time has passed");
            }
            let sends = claims.iter().map(|claim| send(app, claim).instrument(request(&claim.message_id)));
            futures::future::join_all(sends).await;
        }
        Err(error) => {
            for record in std::mem::take(&mut batch.records) {
                batch.fail(&record.sqs_message_id, &record.request_id, &error);
            }
        }
    }
    batch
}

async fn send(app: &App, claim: &Claimed) {
    let answer = create(app, claim).await;
    let outcome = match &answer {
        Ok(Answer::Took(message)) => Outcome::Accepted {
            twilio_sid: message.sid.clone(),
            status: Status::from_twilio(&message.status).unwrap_or(Status::Queued),
        },
        Ok(Answer::OptedOut) => Outcome::Failed {
            by_twilio: false,
            error_code: OPTED_OUT.to_owned(),
            detail: "the recipient opted out between two tries".to_owned(),
        },
        Err(error) => app.retry.outcome(claim, error, clock::now()),
    };
    match &outcome {
        Outcome::Accepted { twilio_sid, .. } => {
            telemetry::count(Metric::SendsAccepted, 1);
            tracing::info!(message_id = %claim.message_id, twilio_sid, "Twilio took the message");
        }
        Outcome::Deferred { next_attempt_at, detail, .. } => {
            telemetry::count(Metric::SendsDeferred, 1);
            tracing::warn!(message_id = %claim.message_id, %next_attempt_at, detail, "the send is put off");
        }
        Outcome::Failed { error_code, detail, .. } => {
            telemetry::count(Metric::SendsFailed, 1);
            tracing::warn!(message_id = %claim.message_id, error_code, detail, "the message can't be sent");
        }
        Outcome::Unknown { detail } => {
            telemetry::count(Metric::SendsUnknown, 1);
            tracing::error!(message_id = %claim.message_id, detail, "it is not known whether Twilio took the message");
        }
    }
    if answer.as_ref().is_err_and(SendError::is_our_fault) {
        telemetry::count(Metric::SendsMisconfigured, 1);
        tracing::error!(message_id = %claim.message_id, "Twilio refuses our account, number or credentials");
    }
    record(app, claim, &outcome).await;
}

/// What came of calling Twilio, when it did not fail.
enum Answer {
    Took(Box<Message>),
    /// It was not called again: the handset's STOP came between two tries.
    OptedOut,
}

/// Calls Twilio, and calls again only for what it surely did not process: a few times, with full jitter, not after the
/// message's time, and not after a STOP.
async fn create(app: &App, claim: &Claimed) -> Result<Answer, SendError> {
    let message = request(app, claim);
    let mut tries = 0;
    loop {
        let begun = std::time::Instant::now();
        let answer = app.twilio.create_message(&message).await;
        telemetry::record(Metric::CreateLatency, begun.elapsed().as_secs_f64() * 1_000.0);
        tries += 1;
        let error = match answer {
            Ok(message) => return Ok(Answer::Took(Box::new(message))),
            Err(error) => error,
        };
        let SendOutcome::NotProcessed { retry_after } = error.outcome() else { return Err(error) };
        let Some(wait) = app.retry.wait_within_invocation(tries, retry_after) else { return Err(error) };
        if claim.send_before.is_some_and(|end| clock::now() + wait >= end) {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        match sends::opted_out(&app.db, claim.message_id).await {
            Ok(false) => {}
            Ok(true) => return Ok(Answer::OptedOut),
            Err(unanswered) => {
                let unanswered = common::error::chain(&unanswered);
                tracing::warn!(error = unanswered, "not tried again: there may be a STOP by now");
                return Err(error);
            }
        }
    }
}

fn request(app: &App, claim: &Claimed) -> CreateMessage {
    let now = clock::now();
    let sender = match (&claim.from, &claim.messaging_service_sid) {
        (Some(number), _) => Sender::Number(number.clone()),
        (None, service) => Sender::MessagingService(service.clone().unwrap_or_default()),
    };
    CreateMessage {
        to: claim.to.clone(),
        sender,
        body: claim.message_content.clone(),
        media_urls: claim.media_urls.clone(),
        status_callback: Some(status_callback_url(&app.callback_base_url, claim.message_id)),
        validity_period: claim.send_before.and_then(|end| Duration::try_from(end.duration_since(now)).ok()),
    }
}

/// Records the outcome, trying for as long as the invocation reasonably can. If Postgres stays away, the claim stays,
/// and the sweep makes the message `unknown`; the callback that carries our id then tells what became of it.
async fn record(app: &App, claim: &Claimed, outcome: &Outcome) {
    for attempt in 1..=RECORD_TRIES {
        let Err(error) = sends::finish(&app.db, claim, outcome, clock::now()).await else { break };
        let error = common::error::chain(&error);
        tracing::error!(message_id = %claim.message_id, attempt, ?outcome, error, "the outcome is not recorded");
        if attempt == RECORD_TRIES {
            return;
        }
        tokio::time::sleep(plan::jitter(attempt)).await;
    }
    if let Outcome::Accepted { twilio_sid, .. } = outcome
        && let Err(error) =
            statuses::join_orphans(&app.db, Some(twilio_sid), &app.renewals, clock::now()).await
    {
        tracing::warn!(error = common::error::chain(&error), "early callbacks wait for the next sweep");
    }
}
