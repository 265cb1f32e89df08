//! Where things are, and what functions are told.

use crate::function::Function;
use crate::sqs::Sqs;
use crate::twilio::Twilio;
use std::path::{Path, PathBuf};
use testing::{AUTH_TOKEN, BASE_URL};

/// Where the binaries are, and their peers.
pub struct World {
    /// The folder of the release binaries.
    pub binaries: PathBuf,
    /// The queues.
    pub sqs: Sqs,
    /// Where messages go.
    pub twilio: Twilio,
}

impl World {
    /// Returns what a function is told by its environment: everything that any of them reads.
    pub fn environment(&self, database_url: &str) -> Vec<(String, String)> {
        let queue = |name: &str| format!("{}/000000000000/{name}", self.sqs.url);
        [
            ("DATABASE_URL", database_url.to_owned()),
            ("TWILIO_ACCOUNT_SID", "AC277f7ecc24aaab2316acb9fd8f634625".to_owned()),
            ("TWILIO_AUTH_TOKEN", AUTH_TOKEN.to_owned()),
            ("TWILIO_PHONE_NUMBER", "+18605550100".to_owned()),
            ("TWILIO_API_BASE_URL", self.twilio.url.clone()),
            // No pace: it is the service that is measured, not what a sender may do.
            ("SENDER_SEGMENTS_PER_SECOND", "100000".to_owned()),
            ("SENDER_BURST_SEGMENTS", "100000".to_owned()),
            ("PUBLIC_WEBHOOK_BASE_URL", BASE_URL.to_owned()),
            ("INBOUND_QUEUE_URL", queue("inbound")),
            ("STATUS_QUEUE_URL", queue("status")),
            ("OUTBOUND_QUEUE_URL", queue("outbound")),
            ("IDENTIFY_QUEUE_URL", queue("identify")),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Starts a function.
    pub fn start(&self, name: &str, database_url: &str, events: Vec<Vec<u8>>) -> Function {
        Function::start(&self.binary(name), &self.environment(database_url), events)
    }

    /// Returns where a function's binary is.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }
}

/// Returns the name of the room and the name of every function, in the order of the rooms.
pub fn functions(root: &Path) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for main in ["functions/*/src/main.rs", "functions/*/*/src/main.rs"] {
        found.extend(matching(root, main));
    }
    found.sort();
    found
}

fn matching(root: &Path, pattern: &str) -> Vec<(String, String)> {
    let mut folders = vec![root.to_owned()];
    for part in pattern.split('/') {
        folders = folders
            .iter()
            .flat_map(|folder| match part {
                "*" => {
                    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                    entries.map(|entry| entry.path()).collect::<Vec<_>>()
                }
                part => vec![folder.join(part)],
            })
            .filter(|path| path.exists())
            .collect();
    }
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    folders
        .iter()
        .map(|main| {
            let folder = main.parent().and_then(Path::parent);
            (name(folder.and_then(Path::parent)), name(folder))
        })
        .collect()
}
