//! `stack.json`: what a test or a tool needs to know of a running stack.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lambda::Functions;

/// The least time between two writes: far under the second within which changes are shown.
const WRITE_PAUSE: Duration = Duration::from_millis(100);

/// A running stack, as `stack.json` has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StackInfo {
    /// The HTTP API's base.
    pub api_url: String,
    /// The exact base of the webhooks' URLs, which signatures and callbacks use.
    pub webhook_base_url: String,
    /// Twilio's API, or the simulator's.
    pub twilio_api_url: String,
    /// The Monitor and the tenant profile service, or what stands for both.
    #[serde(default)]
    pub monitor_api_url: String,
    /// Twilio's account.
    pub account_sid: String,
    /// Its auth token.
    pub auth_token: String,
    /// Its number.
    pub phone_number: String,
    /// An API key with every scope; absent if the template has no function to make keys.
    pub api_key: Option<String>,
    /// The database.
    pub database_url: String,
    /// SQS and Lambda's Invoke API.
    pub aws_endpoint_url: String,
    /// Queue URLs by name.
    pub queues: BTreeMap<String, String>,
    /// The functions by their folders' names.
    pub functions: BTreeMap<String, FunctionInfo>,
    /// From the command to ready.
    pub ready_ms: u64,
}

/// One function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FunctionInfo {
    /// The binary that runs.
    pub binary: PathBuf,
    /// The processes that live.
    pub pids: Vec<u32>,
}

impl StackInfo {
    /// Where it is written.
    #[must_use]
    pub fn path(data: &Path) -> PathBuf {
        data.join("stack.json")
    }

    /// Reads what a running stack has written.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not of this form.
    pub fn read(data: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(Self::path(data))?)?)
    }

    /// Writes it at once: a reader sees the old or the new file, never a part.
    pub(super) fn write(&self, data: &Path) -> std::io::Result<()> {
        let path = Self::path(data);
        let unfinished = path.with_extension("json.new");
        std::fs::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(unfinished, path)
    }

    /// Writes it again whenever a process starts or ends.
    pub(super) async fn keep(mut self, functions: Arc<Functions>, data: PathBuf) {
        let mut changes = functions.changes();
        while changes.changed().await.is_ok() {
            tokio::time::sleep(WRITE_PAUSE).await;
            changes.mark_unchanged();
            self.functions = function_infos(&functions);
            // The next change tries again; a full disk shows itself elsewhere.
            let _ = self.write(&data);
        }
    }
}

/// The functions as they are.
pub(super) fn function_infos(functions: &Functions) -> BTreeMap<String, FunctionInfo> {
    let info = |function: &Arc<crate::lambda::Function>| FunctionInfo {
        binary: function.binary().to_owned(),
        pids: function.pids(),
    };
    functions.iter().map(|function| (function.name().to_owned(), info(function))).collect()
}
