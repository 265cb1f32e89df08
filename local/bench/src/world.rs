//! The binaries, the servers that they call, and their configuration.

use crate::function::Function;
use crate::sqs::Sqs;
use crate::twilio::Twilio;
use std::path::PathBuf;
use testing::{AUTH_TOKEN, BASE_URL};

/// The environment of the measured functions.
pub struct World {
    /// The folder of the release binaries.
    pub binaries: PathBuf,
    /// The SQS server.
    pub sqs: Sqs,
    /// The Twilio server.
    pub twilio: Twilio,
}

impl World {
    /// Returns the environment variables for all functions.
    pub fn environment(&self, database_url: &str) -> Vec<(String, String)> {
        let queue = |name: &str| format!("{}/000000000000/{name}", self.sqs.url);
        [
            ("DATABASE_URL", database_url.to_owned()),
            ("TWILIO_ACCOUNT_SID", "AC277f7ecc24aaab2316acb9fd8f634625".to_owned()),
            ("TWILIO_AUTH_TOKEN", AUTH_TOKEN.to_owned()),
            ("TWILIO_PHONE_NUMBER", "+18605550100".to_owned()),
            ("TWILIO_API_BASE_URL", self.twilio.url.clone()),
            // Practically no rate limit.
            ("SENDER_SEGMENTS_PER_SECOND", "100000".to_owned()),
            ("SENDER_BURST_SEGMENTS", "100000".to_owned()),
            ("PUBLIC_WEBHOOK_BASE_URL", BASE_URL.to_owned()),
            ("INBOUND_QUEUE_URL", queue("inbound")),
            ("STATUS_QUEUE_URL", queue("status")),
            ("OUTBOUND_QUEUE_URL", queue("outbound")),
            ("IDENTIFY_QUEUE_URL", queue("identify")),
            ("EVENTS_QUEUE_URL", queue("events")),
            ("SLOW_EVENTS_QUEUE_URL", queue("slow-events")),
            ("MEDIA_QUEUE_URL", queue("media")),
            ("SUBSCRIBERS_ALLOW_LOOPBACK", "true".to_owned()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Starts a function.
    pub fn start(&self, name: &str, database_url: &str, events: Vec<Vec<u8>>) -> Function {
        Function::start(&self.binary(name), &self.environment(database_url), events)
    }

    /// Returns the path of a function's binary.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }
}
