//! What the stack does through the functions before it is ready: the schema, and a key.

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
/// The function that makes API keys.
const MANAGE_KEYS: &str = "manage-keys";
/// Every scope of an API key.
const ALL_SCOPES: [&str; 8] = [
    "messages:send",
    "messages:read",
    "conversations:read",
    "conversations:write",
    "subscriptions:manage",
    "events:read",
    "stats:read",
    "admin",
];
/// The pause while the database is away.
const AWAY_PAUSE: Duration = Duration::from_secs(1);
/// How long a database that listens may go on refusing everybody: one that recovers from a crash does, and so does a
/// pooler before one. Who is refused for longer has something else to mend.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How the function's error says that no session was to be had.
const REFUSED: &str = "connecting to Postgres";

/// Migrates the database. One that is away is waited for.
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
                if reason.contains(REFUSED) && begun.elapsed() < REFUSED_FOR =>
            {
                let _ = writeln!(std::io::stderr(), "waiting for the database: {reason}");
                tokio::time::sleep(AWAY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn wait_for_database(database_url: &str) {
    let Ok(url) = Url::parse(database_url) else { return };
    let address = (url.host_str().unwrap_or("127.0.0.1").to_owned(), url.port().unwrap_or(5432));
    let mut was_told = false;
    while let Err(error) = TcpStream::connect((address.0.as_str(), address.1)).await {
        if !was_told {
            let _ = writeln!(
                std::io::stderr(),
                "waiting for the database at {}:{}: {error}",
                address.0,
                address.1
            );
        }
        was_told = true;
        tokio::time::sleep(AWAY_PAUSE).await;
    }
}

/// The key kept in `file`, or a new one with every scope, kept there.
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
    let request = json!({ "action": "create", "name": "local", "scopes": ALL_SCOPES }).to_string();
    let answer = invoke(functions, MANAGE_KEYS, request).await?;
    let created: Created = serde_json::from_slice(&answer)
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
    let answer = functions.invoke(function, payload.into(), WhenBusy::Wait).await;
    answer
        .map(Into::into)
        .map_err(|error: InvokeError| StackError::FirstRun { function, reason: error.to_string() })
}
