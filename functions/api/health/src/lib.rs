//! GET /health: reports whether the service runs, and with `?deep=true` whether its dependencies do.
//!
//! A shallow check returns at once: the function only starts with a valid configuration. A deep check calls Postgres,
//! and then the queues, Twilio and the Monitor at the same time, each for at most `HEALTH_CHECK_TIMEOUT_MS`. The
//! endpoint is public, so causes are only logged.
//!
//! Because the endpoint is public, many calls must not cause many checks: results are cached for
//! `HEALTH_CACHE_SECONDS`, in the process and in `sms_health`, where all instances share one check. Each instance then
//! reads Postgres once in that time. While Postgres is unavailable, each instance checks the other dependencies itself,
//! once in that time.

mod config;
mod monitor;

pub use config::Config;
pub use monitor::MonitorError;

use common::clock;
use common::db::health::{self, Times, Turn};
use common::db::{Db, DbError, partitions};
use common::error::chain;
use common::http::{
    self, ApiError, HttpRequestExt, Request, Response, StatusCode, ValidationError, responses,
};
use common::queue::Publisher;
use common::twilio::{ClientError, TwilioClient};
use jiff::Timestamp;
use monitor::Monitor;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// The interval at which an instance looks for the result of another instance's check.
const POLL: Duration = Duration::from_millis(25);

/// Why the function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The database client could not be created.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The Twilio client could not be created.
    #[error(transparent)]
    Twilio(#[from] ClientError),
    /// The Monitor client could not be created.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
    publisher: Publisher,
    twilio: TwilioClient,
    monitor: Option<Monitor>,
    /// Time and result of the last deep check. Locked during a check, so that concurrent calls share it.
    last: Mutex<Option<(Timestamp, Checks)>>,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] when the function cannot start.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let publisher = Publisher::new(config.publisher.clone());
        let twilio = TwilioClient::new(config.twilio.clone())?;
        let monitor = config.monitor.clone().map(Monitor::new).transpose()?;
        Ok(Self { config, db, publisher, twilio, monitor, last: Mutex::default() })
    }
}

/// The state of one dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Available.
    Ok,
    /// Unavailable.
    Failed,
    /// Not checked.
    Skipped,
    /// Not configured.
    NotConfigured,
}

/// The state of all dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Checks {
    /// The configuration: always `ok`, because the function does not start without a valid one.
    pub config: Check,
    /// Postgres.
    pub db: Check,
    /// Partitions of this month and the next for the large tables. Rows are stored even if one is missing.
    pub partitions: Check,
    /// SQS queues.
    pub queues: Check,
    /// Twilio, with the configured credentials.
    pub twilio: Check,
    /// Collections Monitor. Messages are stored even if it is unavailable.
    pub monitor: Check,
}

impl Checks {
    fn is_well(&self) -> bool {
        [self.config, self.db, self.partitions, self.queues, self.twilio, self.monitor]
            .into_iter()
            .all(|check| check != Check::Failed)
    }
}

/// The state of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "ok": true, "version": "0.1.0",
    "checks": {"config": "ok", "db": "ok", "partitions": "ok", "queues": "ok", "twilio": "ok", "monitor": "ok"}
}))]
pub struct Health {
    /// Whether no check failed.
    pub ok: bool,
    /// Version of the service.
    #[schema(value_type = String)]
    pub version: &'static str,
    /// Result of each check.
    pub checks: Checks,
}

/// Reports the state of the service.
///
/// # Errors
///
/// [`ApiError::Validation`] when `deep` is neither `true` nor `false`.
#[utoipa::path(
    get, path = "/health", tag = "service",
    operation_id = "get_health",
    summary = "Check the service",
    description = "Public. A shallow check returns at once. A deep check calls the database, the queues, Twilio and \
                   the Monitor, or returns a result of the last seconds.",
    params(("deep" = Option<bool>, Query, description = "Whether to check the dependencies.")),
    responses(
        (status = 200, description = "All checks passed.", body = Health),
        (status = 503, description = "A dependency is unavailable.", body = Health),
        responses::InvalidRequest,
    ),
    security(()),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let checks = if is_deep(request)? {
        app.deep().await
    } else {
        use Check::{Ok, Skipped};
        Checks {
            config: Ok,
            db: Skipped,
            partitions: Skipped,
            queues: Skipped,
            twilio: Skipped,
            monitor: Skipped,
        }
    };
    let ok = checks.is_well();
    let health = Health { ok, version: env!("CARGO_PKG_VERSION"), checks };
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    http::json(status, &health)
}

fn is_deep(request: &Request) -> Result<bool, ValidationError> {
    let deep = request.query().find(|(name, _)| name == "deep");
    match deep.as_ref().map(|(_, value)| value.as_str()) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ValidationError::field("deep", "must be true or false")),
    }
}

/// The dependencies that are checked once for all instances.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Peers {
    partitions: Check,
    queues: Check,
    twilio: Check,
    monitor: Check,
}

impl Peers {
    fn and_db(self, db: Check) -> Checks {
        let Self { partitions, queues, twilio, monitor } = self;
        let partitions = if db == Check::Failed { Check::Skipped } else { partitions };
        Checks { config: Check::Ok, db, partitions, queues, twilio, monitor }
    }
}

#[derive(Debug, thiserror::Error)]
enum PartitionsError {
    #[error("no partition for this month or the next: {0}")]
    Missing(String),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl App {
    async fn deep(&self) -> Checks {
        if self.config.cache.is_zero() {
            let db = self.check("db", Box::pin(self.db.ping()));
            let (db, peers) = tokio::join!(db, self.peers());
            return peers.and_db(db);
        }
        let mut last = self.last.lock().await;
        if let Some((at, checks)) = *last
            && clock::now() < at + self.config.cache
        {
            return checks;
        }
        let (at, checks) = self.shared().await;
        *last = Some((at, checks));
        checks
    }

    /// Returns a recent result of any instance, or checks.
    async fn shared(&self) -> (Timestamp, Checks) {
        let begun = Instant::now();
        loop {
            match self.turn().await {
                Some(Turn::Recent { checked_at, result }) => {
                    if let Ok(peers) = serde_json::from_value::<Peers>(result) {
                        return (checked_at, peers.and_db(Check::Ok));
                    }
                    // Written by another version.
                    return (clock::now(), self.peers().await.and_db(Check::Ok));
                }
                Some(Turn::Check) => {
                    let peers = self.peers().await;
                    let now = clock::now();
                    return (now, peers.and_db(self.store(now, peers).await));
                }
                Some(Turn::Wait) if begun.elapsed() < self.config.check_timeout * 2 => {
                    tokio::time::sleep(POLL).await
                }
                Some(Turn::Wait) => return (clock::now(), self.peers().await.and_db(Check::Ok)),
                None => return (clock::now(), self.peers().await.and_db(Check::Failed)),
            }
        }
    }

    /// Asks Postgres which instance checks; `None` when Postgres is unavailable.
    async fn turn(&self) -> Option<Turn> {
        let now = clock::now();
        // A check takes one timeout, and storing it another.
        let abandoned = self.config.check_timeout * 3;
        let times = Times { now, fresh_from: now - self.config.cache, claimed_from: now - abandoned };
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
            // Enums can always be written as JSON.
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
        let partitions = self.check("partitions", Box::pin(self.partitions()));
        let (partitions, queues, twilio, monitor) = tokio::join!(partitions, self.queues(), twilio, monitor);
        Peers { partitions, queues, twilio, monitor }
    }

    async fn partitions(&self) -> Result<(), PartitionsError> {
        let missing = partitions::missing(&self.db, clock::now()).await?;
        if missing.is_empty() { Ok(()) } else { Err(PartitionsError::Missing(missing.join(", "))) }
    }

    async fn queues(&self) -> Check {
        // Boxed: the SDK's futures are too deeply nested for the compiler.
        let checks = self.config.queue_urls.iter().map(|url| Box::pin(self.publisher.check(url)));
        let checks = checks.map(|check| self.check("queues", check));
        let checks = futures::future::join_all(checks).await;
        if checks.iter().all(|check| *check == Check::Ok) { Check::Ok } else { Check::Failed }
    }

    async fn check<E: Error + 'static>(
        &self,
        name: &str,
        question: impl Future<Output = Result<(), E>>,
    ) -> Check {
        match tokio::time::timeout(self.config.check_timeout, question).await {
            Ok(Ok(())) => Check::Ok,
            Ok(Err(error)) => {
                tracing::warn!(check = name, error = chain(&error), "health check failed");
                Check::Failed
            }
            Err(_) => {
                tracing::warn!(check = name, "health check timed out");
                Check::Failed
            }
        }
    }
}
