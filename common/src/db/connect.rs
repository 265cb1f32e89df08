//! How to reach Postgres: the URL, TLS, and how long to wait.

use super::DbError;
use crate::config::{Env, Secret};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{CancelToken, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How connections are protected.
#[derive(Clone)]
pub(super) enum Tls {
    /// Not at all: on this machine, or because the URL says so.
    None,
    /// With rustls, the server verified.
    Rustls(MakeRustlsConnect),
}

impl Tls {
    /// Asks Postgres to give up what a connection is busy with. That it can't be asked is no error: the statement's
    /// failure is reported as it is.
    pub(super) async fn cancel(&self, token: &CancelToken, budget: Duration) {
        let asked = async {
            match self {
                Self::None => token.cancel_query(NoTls).await,
                Self::Rustls(connector) => token.cancel_query(connector.clone()).await,
            }
        };
        let _ = tokio::time::timeout(budget, asked).await;
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Rustls(_) => "Rustls",
        })
    }
}

/// How to reach Postgres.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    url: Secret,
    ca_pem: Option<String>,
    connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
    pool_size: usize,
}

impl DatabaseConfig {
    /// Reads `DATABASE_URL`, `DATABASE_CA_PEM` (optional: the roots to trust instead of the machine's),
    /// `DATABASE_CONNECT_TIMEOUT_MS` (1000) and `DATABASE_STATEMENT_TIMEOUT_MS` (10 000).
    ///
    /// One connection serves one event at a time, which is all that a Lambda function has; two let a function that
    /// sends several messages at once keep their records moving.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        Self::read(env, 10_000)
    }

    /// Reads the same for a function that somebody waits for: `DATABASE_STATEMENT_TIMEOUT_MS` defaults to 1500.
    pub fn for_answers(env: &mut Env<'_>) -> Option<Self> {
        Self::read(env, 1_500)
    }

    fn read(env: &mut Env<'_>, statement_timeout_ms: u64) -> Option<Self> {
        let url = env.secret("DATABASE_URL");
        let ca_pem = env.optional_text("DATABASE_CA_PEM");
        let connect_timeout = env.millis("DATABASE_CONNECT_TIMEOUT_MS", 50..=60_000, 1_000);
        let statement_timeout =
            env.millis("DATABASE_STATEMENT_TIMEOUT_MS", 50..=600_000, statement_timeout_ms);
        let config = Self {
            url: url?,
            ca_pem: ca_pem?,
            connect_timeout: connect_timeout?,
            statement_timeout: statement_timeout?,
            pool_size: 2,
        };
        if let Err(error) = config.postgres() {
            // The parser's messages name the part at fault; none of them quotes the password.
            env.problem(format!("DATABASE_URL is not usable ({})", crate::error::chain(&error)));
            return None;
        }
        Some(config)
    }

    /// Makes a configuration for a URL, with the defaults for everything else.
    #[must_use]
    pub fn for_url(url: &str) -> Self {
        Self {
            url: Secret::new(url),
            ca_pem: None,
            connect_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(10),
            pool_size: 2,
        }
    }

    fn postgres(&self) -> Result<tokio_postgres::Config, tokio_postgres::Error> {
        let (url, ssl_mode) = take_ssl_mode(self.url.expose());
        let mut config: tokio_postgres::Config = url.parse()?;
        let local = config.get_hosts().iter().all(is_this_machine);
        config
            .ssl_mode(match ssl_mode.as_deref() {
                Some("disable") => SslMode::Disable,
                // `prefer` and `allow` would let whoever stands in between choose plain text.
                None | Some("prefer" | "allow") if local => SslMode::Disable,
                _ => SslMode::Require,
            })
            .connect_timeout(self.connect_timeout)
            .keepalives_idle(Duration::from_secs(30))
            .application_name("sms-foundation");
        Ok(config)
    }

    pub(super) fn pool(&self, tls: &Tls) -> Result<Pool, DbError> {
        let config = self.postgres().map_err(|error| DbError::Setup(error.into()))?;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match tls {
            Tls::None => Manager::from_config(config, NoTls, recycling),
            Tls::Rustls(connector) => Manager::from_config(config, connector.clone(), recycling),
        };
        Pool::builder(manager)
            .max_size(self.pool_size)
            .create_timeout(Some(self.connect_timeout))
            .wait_timeout(Some(self.statement_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| DbError::Setup(error.into()))
    }

    pub(super) fn tls(&self) -> Result<Tls, DbError> {
        let config = self.postgres().map_err(|error| DbError::Setup(error.into()))?;
        if config.get_ssl_mode() == SslMode::Disable {
            return Ok(Tls::None);
        }
        Ok(Tls::Rustls(MakeRustlsConnect::new(self.rustls()?)))
    }

    fn rustls(&self) -> Result<ClientConfig, DbError> {
        let mut roots = RootCertStore::empty();
        match &self.ca_pem {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate = certificate.map_err(|error| DbError::Setup(error.into()))?;
                    roots.add(certificate).map_err(|error| DbError::Setup(error.into()))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| DbError::Setup(error.into()))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Takes `sslmode` out of a URL, since the driver knows only some of libpq's modes: here every mode that asks for TLS
/// also verifies the server, whatever its name.
fn take_ssl_mode(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let mut mode = None;
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| match pair.strip_prefix("sslmode=") {
            Some(value) => {
                mode = Some(value.to_owned());
                false
            }
            None => !pair.is_empty(),
        })
        .collect();
    let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    (url, mode)
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> SslMode {
        DatabaseConfig::for_url(url).postgres().unwrap().get_ssl_mode()
    }

    #[test]
    fn another_machine_is_only_spoken_to_over_tls_unless_told_otherwise() {
        assert_eq!(mode("postgres://u:p@db.example:5432/x"), SslMode::Require);
        assert_eq!(mode("postgres://u:p@db.example/x?sslmode=prefer"), SslMode::Require);
        assert_eq!(mode("postgres://u:p@db.example/x?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("postgres://u:p@db.example/x?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://u:p@127.0.0.1/x"), SslMode::Disable);
        assert_eq!(mode("postgres://u:p@localhost/x?sslmode=require"), SslMode::Require);
        assert_eq!(mode("postgres://u@/x?host=/run/postgresql"), SslMode::Disable);
    }

    #[test]
    fn other_parameters_of_the_url_are_kept() {
        let (url, mode) = take_ssl_mode("postgres://u@h/x?host=/tmp&sslmode=verify-ca&port=1");
        assert_eq!(url, "postgres://u@h/x?host=/tmp&port=1");
        assert_eq!(mode.as_deref(), Some("verify-ca"));
    }

    #[test]
    fn an_unusable_url_is_named_without_its_password() {
        let lookup =
            |name: &str| (name == "DATABASE_URL").then(|| "postgres://u:hunter2@h:port/x".to_owned());
        let mut env = Env::new(&lookup);
        let config = DatabaseConfig::from_env(&mut env);
        assert!(config.is_none());
        let error = env.finish(|| config).unwrap_err().to_string();
        assert!(error.contains("DATABASE_URL is not usable") && !error.contains("hunter2"), "{error}");
    }
}
