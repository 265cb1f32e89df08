//! GET /health: whether the service is well, and with `?deep=true` whether what it needs is.
//!
//! The shallow answer waits for nothing: it says that the function runs, which it does only with a usable environment.
//! The deep one asks Postgres, and then the queues, Twilio and the Monitor, all at once and each for at most
//! `HEALTH_CHECK_TIMEOUT_MS`. Causes go to the log; the answer is open to everybody.
//!
//! Anybody may call it, so calls must not add up: the result is kept for `HEALTH_CACHE_SECONDS`, in the process and in
//! `sms_health`, by which all instances share one check of each peer. An instance asks Postgres once in that time, on one
//! connection. While Postgres is down, each instance checks the other peers for itself, once in that time.

mod config;
mod monitor;

pub use config::Config;
pub use monitor::MonitorError;

use common::clock;
use common::db::health::{self, Times, Turn};
use common::db::{Db, DbError};
use common::error::chain;
use common::http::{ApiError, Reply, Request, ValidationError};
use common::queue::Publisher;
use common::twilio::{ClientError, TwilioClient};
use jiff::Timestamp;
use monitor::Monitor;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// The pause before an instance asks again for the result of another one that is checking.
const POLL: Duration = Duration::from_millis(25);

/// Why the function can't start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Postgres can't be set up.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Twilio's client can't be set up.
    #[error(transparent)]
    Twilio(#[from] ClientError),
    /// The Monitor's client can't be set up.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
}

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    db: Db,
    publisher: Publisher,
    queue_urls: Vec<String>,
    twilio: TwilioClient,
    monitor: Option<Monitor>,
    check_timeout: Duration,
    cache: Duration,
    /// When the last deep check was made, and its result. Locked during a check, so that calls at once share it.
    last: Mutex<Option<(Timestamp, Checks)>>,
}

impl App {
    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`InitError`]: the function can't start.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        Ok(Self {
            db: Db::new(&config.database)?,
            publisher: Publisher::new(config.publisher),
            queue_urls: config.queue_urls,
            twilio: TwilioClient::new(config.twilio)?,
            monitor: config.monitor.map(Monitor::new).transpose()?,
            check_timeout: config.check_timeout,
            cache: config.cache,
            last: Mutex::default(),
        })
    }
}

/// How one thing that the service needs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// It answers.
    Ok,
    /// It does not.
    Failed,
    /// It was not asked.
    Skipped,
    /// There is none.
    NotConfigured,
}

/// How everything that the service needs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Checks {
    /// The environment: `ok` as soon as the function runs.
    pub config: Check,
    /// Postgres.
    pub db: Check,
    /// The queues.
    pub queues: Check,
    /// Twilio, with our credentials.
    pub twilio: Check,
    /// The Collections Monitor, without which messages are kept all the same.
    pub monitor: Check,
}

impl Checks {
    fn is_well(&self) -> bool {
        [self.config, self.db, self.queues, self.twilio, self.monitor]
            .into_iter()
            .all(|check| check != Check::Failed)
    }
}

/// How the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// Whether nothing that was asked has failed.
    pub ok: bool,
    /// The version that answers.
    #[schema(value_type = String)]
    pub version: &'static str,
    /// How everything that the service needs is.
    pub checks: Checks,
}

/// Says how the service is.
///
/// # Errors
///
/// [`ApiError::Validation`] when `deep` is neither `true` nor `false`.
#[utoipa::path(
    get, path = "/health", tag = "service",
    operation_id = "get_health",
    summary = "Ask how the service is",
    description = "Open. The shallow answer asks nothing else and comes at once; the deep one asks the database, the \
                   queues, Twilio and the Monitor, or returns what was found in the last seconds.",
    params(("deep" = Option<bool>, Query, description = "Whether to ask what the service needs.")),
    responses(
        (status = 200, description = "Well.", body = Health),
        (status = 400, description = "`sms.validation_error`: `deep` is neither `true` nor `false`.",
            body = common::http::ErrorEnvelope),
        (status = 503, description = "Something that the service needs has failed.", body = Health),
    ),
    security(()),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Reply, ApiError> {
    let checks = if is_deep(request)? {
        app.deep().await
    } else {
        use Check::{Ok, Skipped};
        Checks { config: Ok, db: Skipped, queues: Skipped, twilio: Skipped, monitor: Skipped }
    };
    let ok = checks.is_well();
    let health = Health { ok, version: env!("CARGO_PKG_VERSION"), checks };
    Reply::json(if ok { 200 } else { 503 }, &health)
}

fn is_deep(request: &Request) -> Result<bool, ValidationError> {
    let deep = request.query().find(|(name, _)| name == "deep");
    match deep.as_ref().map(|(_, value)| value.as_str()) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ValidationError::field("deep", "must be true or false")),
    }
}

/// The peers that are checked once for all instances.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Peers {
    queues: Check,
    twilio: Check,
    monitor: Check,
}

impl Peers {
    fn and_db(self, db: Check) -> Checks {
        Checks { config: Check::Ok, db, queues: self.queues, twilio: self.twilio, monitor: self.monitor }
    }
}

impl App {
    async fn deep(&self) -> Checks {
        if self.cache.is_zero() {
            let db = self.check("db", Box::pin(self.db.ping()));
            let (db, peers) = tokio::join!(db, self.peers());
            return peers.and_db(db);
        }
        let mut last = self.last.lock().await;
        if let Some((at, checks)) = *last
            && clock::now() < at + self.cache
        {
            return checks;
        }
        let (at, checks) = self.shared().await;
        *last = Some((at, checks));
        checks
    }

    /// Returns the result of the instance that checked last, or checks.
    async fn shared(&self) -> (Timestamp, Checks) {
        let begun = Instant::now();
        loop {
            match self.turn().await {
                Some(Turn::Recent { checked_at, result }) => {
                    if let Ok(peers) = serde_json::from_value::<Peers>(result) {
                        return (checked_at, peers.and_db(Check::Ok));
                    }
                    // Another version's.
                    return (clock::now(), self.peers().await.and_db(Check::Ok));
                }
                Some(Turn::Check) => {
                    let peers = self.peers().await;
                    let now = clock::now();
                    return (now, peers.and_db(self.store(now, peers).await));
                }
                Some(Turn::Wait) if begun.elapsed() < self.check_timeout * 2 => {
                    tokio::time::sleep(POLL).await
                }
                Some(Turn::Wait) => return (clock::now(), self.peers().await.and_db(Check::Ok)),
                None => return (clock::now(), self.peers().await.and_db(Check::Failed)),
            }
        }
    }

    /// Asks Postgres whose turn it is; none when it does not answer.
    async fn turn(&self) -> Option<Turn> {
        let now = clock::now();
        // A check takes one timeout, and storing it another.
        let abandoned = self.check_timeout * 3;
        let times = Times { now, fresh_from: now - self.cache, claimed_from: now - abandoned };
        let mut turn = None;
        let question = async {
            turn = Some(health::turn(&self.db, times).await?);
            Ok::<_, DbError>(())
        };
        self.check("db", Box::pin(question)).await;
        turn
    }

    async fn store(&self, now: Timestamp, peers: Peers) -> Check {
        let store = async {
            // Words have a JSON form.
            let result = serde_json::to_value(peers).unwrap_or_default();
            health::store(&self.db, now, &result).await
        };
        self.check("db", Box::pin(store)).await
    }

    async fn peers(&self) -> Peers {
        let monitor = async {
            match &self.monitor {
                Some(monitor) => self.check("monitor", Box::pin(monitor.check())).await,
                None => Check::NotConfigured,
            }
        };
        let twilio = self.check("twilio", Box::pin(self.twilio.check()));
        let (queues, twilio, monitor) = tokio::join!(self.queues(), twilio, monitor);
        Peers { queues, twilio, monitor }
    }

    async fn queues(&self) -> Check {
        // Boxed: the SDK's futures are nested so deeply that the compiler gives up on laying them out in one piece.
        let checks = self.queue_urls.iter().map(|url| Box::pin(self.publisher.check(url)));
        let checks = checks.map(|check| self.check("queues", check));
        let checks = futures::future::join_all(checks).await;
        if checks.iter().all(|check| *check == Check::Ok) { Check::Ok } else { Check::Failed }
    }

    async fn check<E: Error + 'static>(
        &self,
        name: &str,
        question: impl Future<Output = Result<(), E>>,
    ) -> Check {
        match tokio::time::timeout(self.check_timeout, question).await {
            Ok(Ok(())) => Check::Ok,
            Ok(Err(error)) => {
                tracing::warn!(check = name, error = chain(&error), "a check failed");
                Check::Failed
            }
            Err(_) => {
                tracing::warn!(check = name, "a check took too long");
                Check::Failed
            }
        }
    }
}
