//! Configuration of the connection to Postgres: URL, TLS and timeouts.

use super::DbError;
use super::tls::{Tls, TlsParameters};
use crate::config::{Env, Secret};
use crate::secrets::Secrets;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use std::time::Duration;
use tokio_postgres::NoTls;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The variable with the URL of the database.
pub(super) const URL: &str = "DATABASE_URL";

/// Configuration of the connection to Postgres.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    url: Secret,
    /// Where a new URL comes from, if Postgres rejects the password.
    pub(super) secrets: Secrets,
    ca_pem: Option<String>,
    /// The timeout of the TCP connection.
    connect_timeout: Duration,
    /// The timeout of the whole connection, with TLS and authentication.
    pub(super) open_timeout: Duration,
    pub(super) statement_timeout: Duration,
    pool_size: usize,
}

impl DatabaseConfig {
    /// Reads `DATABASE_URL`, `DATABASE_CA_PEM` (optional: root certificates instead of the URL's or the system's),
    /// `DATABASE_CONNECT_TIMEOUT_MS` (1000) and `DATABASE_STATEMENT_TIMEOUT_MS` (10 000).
    ///
    /// A Lambda function handles one event at a time, so one connection is enough. A second one lets a function that
    /// sends several messages record outcomes at the same time.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        Self::read(env, 10_000)
    }

    /// Reads the same for API functions: `DATABASE_STATEMENT_TIMEOUT_MS` defaults to 12 000.
    ///
    /// If Postgres refuses connections or cannot be reached, the request fails within `DATABASE_CONNECT_TIMEOUT_MS`.
    /// After the TCP connection, Postgres may only be slow, so the rest of the handshake may take as long as a
    /// statement. A frozen Postgres looks like a slow one.
    pub fn for_answers(env: &mut Env<'_>) -> Option<Self> {
        let config = Self::read(env, 12_000)?;
        Some(Self { open_timeout: config.connect_timeout + config.statement_timeout, ..config })
    }

    fn read(env: &mut Env<'_>, statement_timeout_ms: u64) -> Option<Self> {
        let url = env.secret(URL);
        let ca_pem = env.optional_text("DATABASE_CA_PEM");
        let connect_timeout = env.millis("DATABASE_CONNECT_TIMEOUT_MS", 50..=60_000, 1_000);
        let statement_timeout =
            env.millis("DATABASE_STATEMENT_TIMEOUT_MS", 50..=600_000, statement_timeout_ms);
        let config = Self {
            url: url?,
            secrets: env.source(&[URL]),
            ca_pem: ca_pem?,
            connect_timeout: connect_timeout?,
            open_timeout: connect_timeout?,
            statement_timeout: statement_timeout?,
            pool_size: 2,
        };
        if let Err(error) = config.postgres() {
            // The parser's messages name the invalid part and never contain the password.
            env.problem(format!("DATABASE_URL is invalid ({})", crate::error::chain(&error)));
            return None;
        }
        Some(config)
    }

    /// Creates a configuration for a URL, with defaults for everything else.
    #[must_use]
    pub fn for_url(url: &str) -> Self {
        Self {
            url: Secret::new(url),
            secrets: Secrets::default(),
            ca_pem: None,
            connect_timeout: Duration::from_secs(1),
            open_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(10),
            pool_size: 2,
        }
    }

    /// Returns the configuration with the URL that the secrets have now.
    pub(super) fn renewed(&self) -> Option<Self> {
        Some(Self { url: Secret::new(self.secrets.get(URL)?), ..self.clone() })
    }

    fn postgres(&self) -> Result<(tokio_postgres::Config, TlsParameters), tokio_postgres::Error> {
        let (url, parameters) = TlsParameters::take(self.url.expose());
        let mut config: tokio_postgres::Config = url.parse()?;
        config
            .ssl_mode(parameters.mode(is_this_machine(&config)))
            .connect_timeout(self.connect_timeout)
            // Detects that the host of an open connection is gone.
            .tcp_user_timeout(self.connect_timeout)
            .keepalives_idle(Duration::from_secs(30))
            .application_name("sms-foundation");
        Ok((config, parameters))
    }

    pub(super) fn pool(&self, tls: &Tls) -> Result<Pool, DbError> {
        let (config, _) = self.postgres().map_err(|error| DbError::Setup(error.into()))?;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match tls {
            Tls::None => Manager::from_config(config, NoTls, recycling),
            Tls::Rustls(connector) => Manager::from_config(config, connector.clone(), recycling),
        };
        Pool::builder(manager)
            .max_size(self.pool_size)
            .create_timeout(Some(self.open_timeout))
            .wait_timeout(Some(self.statement_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| DbError::Setup(error.into()))
    }

    pub(super) fn tls(&self) -> Result<Tls, DbError> {
        let (config, parameters) = self.postgres().map_err(|error| DbError::Setup(error.into()))?;
        if config.get_ssl_mode() == SslMode::Disable {
            return Ok(Tls::None);
        }
        let client = parameters.rustls(self.ca_pem.as_deref(), is_this_machine(&config))?;
        Ok(Tls::Rustls(MakeRustlsConnect::new(client)))
    }
}

fn is_this_machine(config: &tokio_postgres::Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> SslMode {
        DatabaseConfig::for_url(url).postgres().unwrap().0.get_ssl_mode()
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
    fn an_unusable_url_is_named_without_its_password() {
        let lookup =
            |name: &str| (name == "DATABASE_URL").then(|| "postgres://u:hunter2@h:port/x".to_owned());
        let mut env = Env::new(&lookup);
        let config = DatabaseConfig::from_env(&mut env);
        assert!(config.is_none());
        let error = env.finish(|| config).unwrap_err().to_string();
        assert!(error.contains("DATABASE_URL is invalid") && !error.contains("hunter2"), "{error}");
    }
}
