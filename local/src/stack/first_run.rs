//! Initializes the database through the functions: applies the migrations and creates an API key.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use url::Url;

use super::StackError;
use crate::lambda::{Functions, InvokeError, WhenBusy};

/// The function that applies the migrations.
const MIGRATE: &str = "migrate";
/// The function that creates API keys.
const MANAGE_KEYS: &str = "manage-keys";
/// The scope that includes all others.
const ALL_SCOPES: &str = "admin";
/// The delay between attempts while the database is unavailable.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long to retry while the database accepts TCP connections but refuses sessions.
///
/// A database does so during crash recovery, and so does a pooler in front of it. A longer refusal has another cause.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(60);
/// Part of the function's error if it could not open a session.
const REFUSED: &str = "connecting to Postgres";

/// Applies the migrations. Waits while the database is unavailable.
pub(super) async fn migrate(functions: &Functions, database_url: &str) -> Result<(), StackError> {
    if functions.get(MIGRATE).is_none() {
        return Ok(());
    }
    wait_for_database(database_url).await;
    let begun = Instant::now();
    loop {
        match invoke(functions, MIGRATE, "{}".to_owned()).await {
            Ok(_) => return Ok(()),
            Err(StackError::FirstRun { reason, .. })
                if reason.contains(REFUSED) && begun.elapsed() < REFUSED_TIMEOUT =>
            {
                let _ = writeln!(std::io::stderr(), "waiting for the database: {reason}");
                tokio::time::sleep(RETRY_DELAY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn wait_for_database(database_url: &str) {
    let Ok(url) = Url::parse(database_url) else { return };
    let address = (url.host_str().unwrap_or("127.0.0.1").to_owned(), url.port().unwrap_or(5432));
    let mut is_logged = false;
    while let Err(error) = TcpStream::connect((address.0.as_str(), address.1)).await {
        if !is_logged {
            let _ = writeln!(
                std::io::stderr(),
                "waiting for the database at {}:{}: {error}",
                address.0,
                address.1
            );
        }
        is_logged = true;
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Returns the key stored in `file`, or creates one with all scopes and stores it.
pub(super) async fn api_key(
    functions: &Functions,
    file: Option<&Path>,
) -> Result<Option<String>, StackError> {
    #[derive(Deserialize)]
    struct Created {
        key: String,
    }
    if functions.get(MANAGE_KEYS).is_none() {
        return Ok(None);
    }
    if let Some(key) = file.and_then(|file| std::fs::read_to_string(file).ok()) {
        return Ok(Some(key));
    }
    let request = json!({ "action": "create", "name": "local", "scopes": [ALL_SCOPES] }).to_string();
    let response = invoke(functions, MANAGE_KEYS, request).await?;
    let created: Created = serde_json::from_slice(&response)
        .map_err(|error| StackError::FirstRun { function: MANAGE_KEYS, reason: error.to_string() })?;
    if let Some(file) = file {
        std::fs::write(file, &created.key)
            .map_err(|source| StackError::File { path: file.to_owned(), source })?;
    }
    Ok(Some(created.key))
}

async fn invoke(
    functions: &Functions,
    function: &'static str,
    payload: String,
) -> Result<Vec<u8>, StackError> {
    let response = functions.invoke(function, payload.into(), WhenBusy::Wait).await;
    response
        .map(Into::into)
        .map_err(|error: InvokeError| StackError::FirstRun { function, reason: error.to_string() })
}
