//! `stack.json`: addresses and credentials of a running stack, for tests and tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lambda::Functions;

/// The minimum time between two writes. Readers may rely on changes being visible within a second.
const WRITE_INTERVAL: Duration = Duration::from_millis(100);

/// The content of `stack.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StackInfo {
    /// Base URL of the HTTP API.
    pub api_url: String,
    /// Base URL of the webhooks, exactly as used in signatures and status callbacks.
    pub webhook_base_url: String,
    /// Base URL of Twilio's API or of the simulator.
    pub twilio_api_url: String,
    /// Base URL of the Monitor, or of its stand-in.
    #[serde(default)]
    pub monitor_api_url: String,
    /// Twilio account SID.
    pub account_sid: String,
    /// Twilio auth token.
    pub auth_token: String,
    /// The account's phone number.
    pub phone_number: String,
    /// An API key with all scopes; absent if the template has no function that creates keys.
    pub api_key: Option<String>,
    /// The database URL, including the password.
    pub database_url: String,
    /// Endpoint of SQS and of Lambda's Invoke API.
    pub aws_endpoint_url: String,
    /// Queue URLs by name.
    pub queues: BTreeMap<String, String>,
    /// The functions by name (their folder's name).
    pub functions: BTreeMap<String, FunctionInfo>,
    /// Time from the start to ready, in milliseconds.
    pub ready_ms: u64,
}

/// A function of the running stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FunctionInfo {
    /// The function's binary.
    pub binary: PathBuf,
    /// The IDs of its running processes.
    pub pids: Vec<u32>,
}

impl StackInfo {
    /// Returns the path of the file in the data folder.
    #[must_use]
    pub fn path(data: &Path) -> PathBuf {
        data.join("stack.json")
    }

    /// Reads the file of a running stack.
    ///
    /// # Errors
    ///
    /// If the file does not exist (no stack is running) or is invalid.
    pub fn read(data: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(Self::path(data))?)?)
    }

    /// Writes the file atomically.
    pub(super) fn write(&self, data: &Path) -> std::io::Result<()> {
        let path = Self::path(data);
        let unfinished = path.with_extension("json.new");
        std::fs::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(unfinished, path)
    }

    /// Updates the file whenever a process starts or exits.
    pub(super) async fn keep_updated(mut self, functions: Arc<Functions>, data: PathBuf) {
        let mut changes = functions.changes();
        while changes.changed().await.is_ok() {
            tokio::time::sleep(WRITE_INTERVAL).await;
            changes.mark_unchanged();
            self.functions = function_infos(&functions);
            // If the write fails, the next change writes again.
            let _ = self.write(&data);
        }
    }
}

/// Returns the functions with their current processes.
pub(super) fn function_infos(functions: &Functions) -> BTreeMap<String, FunctionInfo> {
    let info = |function: &Arc<crate::lambda::Function>| FunctionInfo {
        binary: function.binary().to_owned(),
        pids: function.pids(),
    };
    functions.iter().map(|function| (function.name().to_owned(), info(function))).collect()
}
