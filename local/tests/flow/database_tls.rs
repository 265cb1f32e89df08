//! Postgres over TLS with a self-signed certificate.

use common::config::Env;
use common::db::{DatabaseConfig, Db};
use common::error::chain;
use tempfile::NamedTempFile;

use crate::client::{Sql, fresh_handset};
use crate::services::Database;
use crate::stack::{Setup, eventually};

/// Returns a certificate for the loopback interface, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Starts a server with TLS, and returns it with its certificate.
async fn server() -> (Database, String) {
    let database = Database::start().await;
    let (certificate, key) = certificate();
    let sql = Sql::connect(&database.url()).await;
    for (file, pem) in [("server.crt", &certificate), ("server.key", &key)] {
        // The server's user must own the files, so the server writes them to its data folder.
        let write = format!(
            "copy (select unnest(string_to_array('{pem}', E'\\n'))) to program 'umask 077 && cat > {file}'"
        );
        sql.client.batch_execute(&write).await.unwrap();
    }
    sql.client.batch_execute("alter system set ssl = on").await.unwrap();
    sql.client.batch_execute("select pg_reload_conf()").await.unwrap();
    let url = with_mode(&database, "require");
    eventually("the server accepts TLS connections", async || outcome(&url, None).await.ok()).await;
    (database, certificate)
}

fn with_mode(database: &Database, mode: &str) -> String {
    database.url().replace("sslmode=disable", &format!("sslmode={mode}"))
}

/// Connects with the functions' database code and runs a query. `certificate` is the configured root certificate.
async fn outcome(url: &str, certificate: Option<&str>) -> Result<(), String> {
    let lookup = |name: &str| match name {
        "DATABASE_URL" => Some(url.to_owned()),
        "DATABASE_CA_PEM" => certificate.map(str::to_owned),
        "DATABASE_CONNECT_TIMEOUT_MS" => Some("60000".to_owned()),
        _ => None,
    };
    let config = DatabaseConfig::from_env(&mut Env::new(&lookup)).unwrap();
    let db = Db::new(&config).map_err(|error| chain(&error))?;
    db.ping().await.map_err(|error| chain(&error))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_works_with_tls_to_postgres() {
    let (database, _) = server().await;
    let stack = Setup::as_deployed().with("DATABASE_URL", &with_mode(&database, "require")).start().await;
    let handset = fresh_handset();
    stack.send_from_handset(&handset, "The heating is off").await;
    stack.wait_for_conversation(&handset, |page| page["total"] == 1).await;
    let id = stack.send(&handset, "We are on our way").await;
    stack.wait_for_status(&id, "delivered").await;
    let sql = Sql::connect(&database.url()).await;
    let ours = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) \
                where application_name = 'sms-foundation' and ssl = $1";
    assert!(sql.count(ours, &[&true]).await > 0);
    assert_eq!(sql.count(ours, &[&false]).await, 0, "all connections of the functions must use TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_certificate_is_verified_against_the_configured_root() {
    let (database, certificate) = server().await;
    let (own, other) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
    std::fs::write(own.path(), &certificate).unwrap();
    std::fs::write(other.path(), self::certificate().0).unwrap();
    let url = with_mode(&database, "verify-full");
    let with_root = |file: &NamedTempFile| format!("{url}&sslrootcert={}", file.path().display());

    assert_eq!(outcome(&with_root(&own), None).await, Ok(()));
    for unverified in [&url, &with_root(&other)] {
        let refused = outcome(unverified, None).await.unwrap_err();
        assert!(refused.contains("invalid peer certificate"), "{refused}");
    }
    assert_eq!(outcome(&url, Some(&certificate)).await, Ok(()));
}
