//! A local simulator of Twilio's messaging API, for development and tests.
//!
//! It serves Twilio's REST API for messages, sends signed inbound webhooks and status callbacks, records what each
//! simulated handset received, and injects faults. The page at `/` shows the handsets. `README.md` lists endpoints,
//! faults and limits.
//!
//! Modules, from bottom to top: `clock`, `config` and `error_codes`; `state`; `faults`; `delivery`; `api`. A module
//! imports only its own layer and lower layers (`tests/it/imports.rs`).
//!
//! ```no_run
//! use twilio_simulator::{Simulator, SimulatorConfig};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = SimulatorConfig::new("AC00000000000000000000000000000000", "token")
//!     .with_number("+12035550100", "http://127.0.0.1:9000/webhook/twilio/sms");
//! let simulator = Simulator::start(config).await?;
//! println!("{}", simulator.url());
//! simulator.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

mod api;
mod clock;
mod config;
mod delivery;
mod error_codes;
mod faults;
mod state;

pub use config::{ApiKey, Delays, MessagingService, PhoneNumber, SenderQueue, SimulatorConfig};

use api::{control, deactivations, media, messages, server};
use delivery::engine::{Engine, Origins};
use delivery::outbound;
use state::journal::Journal;
use state::store::Store;

/// An error that prevents the start of a simulator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is invalid.
    #[error("{0}")]
    Config(String),
    /// The address is in use or not permitted.
    #[error("cannot listen on {address}")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The journal cannot be read or written.
    #[error("cannot use the journal {path}")]
    Journal {
        /// The journal's file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A running simulator. Dropping it stops the simulator without waiting for the journal.
pub struct Simulator {
    engine: Arc<Engine>,
    servers: [JoinHandle<()>; 2],
}

impl Simulator {
    /// Starts a simulator. It accepts connections when this returns.
    ///
    /// # Errors
    /// [`StartError`] when the configuration is invalid, the address is in use, or the journal is unusable.
    pub async fn start(config: SimulatorConfig) -> Result<Self, StartError> {
        check(&config)?;
        let address = SocketAddr::from((config.host, config.port));
        let unbound = |source| StartError::Bind { address, source };
        let listener = server::bind(address).await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let media_address = SocketAddr::from((config.host, 0));
        let unbound = |source| StartError::Bind { address: media_address, source };
        let media_listener = server::bind(media_address).await.map_err(unbound)?;
        let media_address = media_listener.local_addr().map_err(unbound)?;
        let origins = Origins { api: format!("http://{address}"), media: format!("http://{media_address}") };
        let store = load_store(&config)?;
        let engine = Engine::new(config, origins, store);
        outbound::resume(&engine);
        let router = messages::routes(&engine).merge(deactivations::routes()).merge(control::routes());
        let router = router.with_state(Arc::clone(&engine));
        let media_router = media::host_routes().with_state(Arc::clone(&engine));
        let api = server::serve(listener, address, Arc::clone(&engine), router);
        let media = server::serve(media_listener, media_address, Arc::clone(&engine), media_router);
        Ok(Self { engine, servers: [tokio::spawn(api), tokio::spawn(media)] })
    }

    /// Returns the base URL without a trailing slash, such as `http://127.0.0.1:9010`.
    pub fn url(&self) -> &str {
        &self.engine.origins.api
    }

    /// Closes the listener and all connections for `length`.
    pub fn outage(&self, length: Duration) {
        self.engine.outage(length);
    }

    /// Stops the simulator, cancels running requests and flushes the journal.
    pub async fn shutdown(mut self) {
        self.engine.stop();
        for server in &mut self.servers {
            if let Err(error) = server.await {
                tracing::error!(error = &error as &dyn std::error::Error, "listener task failed");
            }
        }
        let journal = self.engine.store().take_journal();
        if let Some(journal) = journal {
            journal.close();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

fn check(config: &SimulatorConfig) -> Result<(), StartError> {
    let wrong = |text: String| Err(StartError::Config(text));
    if config.account_sid.is_empty() {
        return wrong("account_sid is empty".to_owned());
    }
    if config.auth_tokens.iter().all(String::is_empty) {
        return wrong("auth_tokens is empty".to_owned());
    }
    if let Some(queue) = config.sender_queue
        && !(queue.segments_per_second > 0.0 && queue.segments >= 1.0)
    {
        return wrong(
            "sender_queue: the rate must be above 0 and the capacity at least one segment".to_owned(),
        );
    }
    for service in &config.messaging_services {
        for number in &service.numbers {
            if config.number(number).is_none() {
                return wrong(format!(
                    "messaging_services: {} has {number}, which is not in numbers",
                    service.sid
                ));
            }
        }
    }
    Ok(())
}

/// Loads the store from the journal, or returns an empty store without one.
fn load_store(config: &SimulatorConfig) -> Result<Store, StartError> {
    let Some(path) = &config.journal else { return Ok(Store::default()) };
    let unusable = |source| StartError::Journal { path: path.clone(), source };
    let store = Store::replayed(Journal::read(path).map_err(unusable)?, None);
    let changes = store.changes();
    let journal = Journal::open(path, &changes).map_err(unusable)?;
    Ok(Store::replayed(changes, Some(journal)))
}
