//! Signatures according to Standard Webhooks 1.0.0: <https://www.standardwebhooks.com>.

use super::attempt::Outgoing;
use crate::clock;
use crate::config::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use standardwebhooks::{Webhook, WebhookError};

/// The prefix of a secret.
const PREFIX: &str = "whsec_";

/// Returns a new secret: `whsec_` and 32 random bytes in Base64.
#[must_use]
pub fn new_secret() -> Secret {
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(clock::random_bytes::<32>())))
}

/// The three headers of a signed message: names and values.
pub(super) fn headers(
    outgoing: &Outgoing<'_>,
    at: Timestamp,
) -> Result<[(&'static str, String); 3], WebhookError> {
    let seconds = at.as_second();
    let signatures: Vec<String> = outgoing
        .secrets
        .iter()
        .map(|secret| Webhook::new(secret.expose())?.sign(outgoing.id, seconds, outgoing.body.as_bytes()))
        .collect::<Result<_, _>>()?;
    Ok([
        (standardwebhooks::HEADER_WEBHOOK_ID, outgoing.id.to_owned()),
        (standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, seconds.to_string()),
        (standardwebhooks::HEADER_WEBHOOK_SIGNATURE, signatures.join(" ")),
    ])
}
