//! A Twilio that runs on this machine: the part of it that sends and receives text messages.
//!
//! It answers Twilio's REST API, so that Twilio's own SDKs work against it, posts signed webhooks and status
//! callbacks in Twilio's order, keeps a ledger of what each handset received, and goes wrong on request. A page
//! at `/` is a phone. `README.md` beside this file has the tables.
//!
//! ```no_run
//! use local::twilio::{Simulator, SimulatorConfig};
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
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

mod auth;
mod clock;
mod config;
mod control;
mod create;
mod error;
mod exchange;
mod faults;
mod inbound;
mod journal;
mod journey;
mod list;
mod message;
mod opt_out;
mod pace;
mod reserved;
mod rest;
mod segments;
mod server;
mod signature;
mod smart_encoding;
mod store;
mod twiml;
mod webhook;

pub use config::{ApiKey, Delays, MessagingService, PhoneNumber, SenderQueue, SimulatorConfig};

use exchange::Exchange;
use journal::Journal;
use store::Store;

/// Why a simulator could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict themselves.
    #[error("{0}")]
    Config(String),
    /// The port is taken, or may not be used.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Bind {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The journal cannot be read or written.
    #[error("cannot use the journal {path}")]
    Journal {
        /// The journal's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A running simulator. Dropping it stops it too, but does not wait for its journal.
pub struct Simulator {
    url: String,
    exchange: Arc<Exchange>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Starts a simulator on 127.0.0.1. It serves when this returns.
    ///
    /// # Errors
    /// [`StartError`] names what is wrong with the settings, the port or the journal.
    pub async fn start(config: SimulatorConfig) -> Result<Self, StartError> {
        check(&config)?;
        let port = config.port;
        let unbound = |source| StartError::Bind { port, source };
        let listener = server::bind(port).await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let store = remembered(&config)?;
        let exchange = Exchange::new(config, store);
        exchange.resume();
        let router = rest::routes(&exchange).merge(control::routes()).with_state(Arc::clone(&exchange));
        let server = tokio::spawn(server::serve(listener, address, Arc::clone(&exchange), router));
        Ok(Self { url: format!("http://{address}"), exchange, server })
    }

    /// The base of all its addresses, such as `http://127.0.0.1:9010`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Closes the listener and every connection for `length`: connections are truly refused meanwhile.
    pub fn outage(&self, length: Duration) {
        self.exchange.outage(length);
    }

    /// Stops, drops what was in flight, and writes the journal to its end.
    pub async fn shutdown(mut self) {
        self.exchange.stop();
        if let Err(error) = (&mut self.server).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the listener ended badly");
        }
        let journal = self.exchange.store().take_journal();
        if let Some(journal) = journal {
            journal.close();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.exchange.stop();
    }
}

fn check(config: &SimulatorConfig) -> Result<(), StartError> {
    let wrong = |text: String| Err(StartError::Config(text));
    if config.account_sid.is_empty() {
        return wrong("account_sid: it is empty".to_owned());
    }
    if config.auth_tokens.iter().all(String::is_empty) {
        return wrong("auth_tokens: there is none".to_owned());
    }
    if let Some(queue) = config.sender_queue
        && !(queue.segments_per_second > 0.0 && queue.segments >= 1.0)
    {
        return wrong("sender_queue: its rate must be above 0, and it must take a segment".to_owned());
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

/// The store that an earlier run left, or an empty one.
fn remembered(config: &SimulatorConfig) -> Result<Store, StartError> {
    let Some(path) = &config.journal else { return Ok(Store::default()) };
    let unusable = |source| StartError::Journal { path: path.clone(), source };
    let store = Store::replayed(Journal::read(path).map_err(unusable)?, None);
    let changes = store.changes();
    let journal = Journal::open(path, &changes).map_err(unusable)?;
    Ok(Store::replayed(changes, Some(journal)))
}
