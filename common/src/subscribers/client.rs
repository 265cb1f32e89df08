//! The client that all deliveries share.

use super::attempt::{Attempt, Failure, Outgoing};
use super::challenge::{Challenge, Refusal};
use super::config::SubscribersConfig;
use super::destination::Destination;
use super::queue::Queues;
use super::webhook;
use crate::addresses::{CheckedResolver, SystemResolver};
use crate::config::Secret;
use crate::tls::{self, TlsError};
use reqwest::Client;
use reqwest::dns::Resolve;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a connection may be idle and is used again. Shorter than the idle timeout of common servers (Node.js: 5 s),
/// so that a server rarely closes it at the same time.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// The limit for opening a connection, including TLS. It is shared by the addresses of a name, so that one that does
/// not respond leaves time for the others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the body of a response is read after its headers. The status alone decides, so a receiver that sends its
/// body slowly does not keep a delivery in flight.
const BODY_WAIT: Duration = Duration::from_secs(1);

/// An error while creating the client.
#[derive(Debug, thiserror::Error)]
pub enum SubscribersError {
    /// TLS could not be configured.
    #[error("configuring TLS for subscribers")]
    Tls(#[from] TlsError),
    /// The HTTP client rejected its configuration.
    #[error("creating the HTTP client for subscribers")]
    Http(#[source] reqwest::Error),
}

/// Sends events to subscribers.
#[derive(Debug, Clone)]
pub struct Subscribers {
    http: Client,
    queues: Queues,
    config: SubscribersConfig,
}

impl Subscribers {
    /// Creates a client. It connects with the first event.
    ///
    /// # Errors
    ///
    /// [`SubscribersError`]. The function should not start.
    pub fn new(config: &SubscribersConfig) -> Result<Self, SubscribersError> {
        let tls = tls::with_system_roots()?;
        Self::with(config, Arc::new(SystemResolver), tls)
    }

    /// Creates a client with another resolver, whose addresses are checked too, and other root certificates.
    ///
    /// # Errors
    ///
    /// [`SubscribersError::Http`].
    pub fn with(
        config: &SubscribersConfig,
        names: Arc<dyn Resolve>,
        tls: ClientConfig,
    ) -> Result<Self, SubscribersError> {
        let resolver = CheckedResolver::new(names, config.allow_loopback);
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // A proxy would resolve the name itself.
            .no_proxy()
            .dns_resolver(Arc::new(resolver))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(MAX_IDLE)
            .user_agent("sms-foundation")
            .build()
            .map_err(SubscribersError::Http)?;
        Ok(Self { http, queues: Queues::new(), config: config.clone() })
    }

    /// Sends one event once. `timeout` is the deadline of everything: the name, the connection, TLS and the response.
    pub async fn deliver(&self, to: &Destination, outgoing: &Outgoing<'_>, timeout: Duration) -> Attempt {
        let started = Instant::now();
        let result = match (self.config.check(to), to) {
            (Err(forbidden), _) => Err(Failure::from(forbidden)),
            (Ok(()), Destination::Url(url)) => {
                webhook::exchange(&self.http, url, outgoing, timeout, BODY_WAIT).await.map(Attempt::from)
            }
            (Ok(()), Destination::Queue(arn)) => {
                self.queues.send(arn, outgoing, timeout).await.map(|()| Attempt::accepted())
            }
        };
        let attempt = result.unwrap_or_else(Attempt::from);
        Attempt { duration: started.elapsed(), ..attempt }
    }

    /// Checks that a destination wants events and knows the secret: a URL must return a random value from a signed
    /// request; a queue must accept the message.
    ///
    /// # Errors
    ///
    /// [`Refusal`], with the reason for the caller of the API.
    pub async fn challenge(
        &self,
        to: &Destination,
        secret: &Secret,
        timeout: Duration,
    ) -> Result<(), Refusal> {
        self.config.check(to)?;
        let challenge = Challenge::new();
        let secrets = std::slice::from_ref(secret);
        let outgoing = Outgoing { id: &challenge.id, body: &challenge.body, secrets, group: None };
        match to {
            Destination::Url(url) => {
                let response = webhook::exchange(&self.http, url, &outgoing, timeout, timeout).await?;
                challenge.check(&response)
            }
            Destination::Queue(arn) => Ok(self.queues.send(arn, &outgoing, timeout).await?),
        }
    }
}
