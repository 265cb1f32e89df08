//! The check that the owner of a destination wants events.

use super::attempt::{Failure, Outcome};
use super::forbidden::Forbidden;
use super::webhook::Response;
use crate::clock;
use serde_json::{Value, json};

/// Why a destination did not pass the check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The destination is not allowed.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No response, or the queue did not accept the message.
    #[error("did not accept the verification request: {0}")]
    NoResponse(String),
    /// Another status than 2xx.
    #[error("responded with status {0} to the verification request, instead of 2xx")]
    Status(u16),
    /// Another body than expected.
    #[error(r#"must respond to the verification request with {{"challenge":"…"}}, with data.challenge of the request"#)]
    WrongAnswer,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::NoResponse(failure.error)
    }
}

/// A verification request.
pub(super) struct Challenge {
    pub(super) id: String,
    pub(super) body: String,
    expected: String,
}

impl Challenge {
    pub(super) fn new() -> Self {
        let expected = hex::encode(clock::random_bytes::<16>());
        let body = json!({
            "type": "subscription.verification",
            "timestamp": clock::now(),
            "data": {"challenge": expected},
        });
        Self { id: clock::new_id().to_string(), body: body.to_string(), expected }
    }

    pub(super) fn check(&self, response: &Response) -> Result<(), Refusal> {
        if Outcome::of_status(response.status, false) != Outcome::Delivered {
            return Err(Refusal::Status(response.status));
        }
        let answer: Option<Value> = serde_json::from_str(&response.text()).ok();
        let returned = answer.as_ref().and_then(|answer| answer.get("challenge")).and_then(Value::as_str);
        if returned == Some(self.expected.as_str()) { Ok(()) } else { Err(Refusal::WrongAnswer) }
    }
}
