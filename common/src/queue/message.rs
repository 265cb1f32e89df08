//! What travels on the queues: versioned, so that old messages can be read by new functions while both run.

use crate::domain::phone::last_four;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A message whose versions are known.
pub trait Versioned: DeserializeOwned {
    /// The versions that this build reads.
    const VERSIONS: &'static [&'static str];
}

impl Versioned for WebhookMessage {
    const VERSIONS: &'static [&'static str] = &["1"];
}

impl Versioned for DispatchMessage {
    const VERSIONS: &'static [&'static str] = &["1", "2"];
}

impl Versioned for IdentifyMessage {
    const VERSIONS: &'static [&'static str] = &["1"];
}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A newer build wrote it: it is read once this function has been deployed, too.
    #[error("the message has a version that this build does not know")]
    UnknownVersion,
    /// It is not a message. serde_json's errors name places and types; they quote no values of ours.
    #[error("the message is not readable")]
    Unreadable(#[source] serde_json::Error),
}

/// Reads a message.
///
/// # Errors
///
/// [`ReadError`]: leave what has an unknown version on its queue.
pub fn read<M: Versioned>(body: &str) -> Result<M, ReadError> {
    #[derive(Deserialize)]
    struct Envelope {
        version: serde_json::Value,
    }
    serde_json::from_str(body).map_err(|error| match serde_json::from_str(body) {
        Ok(Envelope { version }) if !version.as_str().is_some_and(|known| M::VERSIONS.contains(&known)) => {
            ReadError::UnknownVersion
        }
        _ => ReadError::Unreadable(error),
    })
}

/// A webhook that was proven genuine, on `[inbound]` or `[status]`, and the same in the spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum WebhookMessage {
    /// The first version.
    #[serde(rename = "1")]
    V1(WebhookV1),
}

/// The whole form of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookV1 {
    /// When the webhook function received it.
    pub received_at: Timestamp,
    /// All pairs of the form, verbatim and in order, percent-encoded: SQS refuses some characters that a form may
    /// hold, and ASCII is never among them.
    pub form: String,
    /// The query string of the URL that Twilio called, for the parameters that our own callback URL carried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Twilio's `I-Twilio-Idempotency-Token`: the same on all tries of one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_token: Option<String>,
}

/// What there is to send, on `[outbound]`: only whose turn it may be, since the rows are the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum DispatchMessage {
    /// The first version: a message that was stored or became due, which stands for its sender.
    #[serde(rename = "1")]
    V1(DispatchV1),
    /// The second one: a sender that has more to do, or can go on.
    #[serde(rename = "2")]
    V2(DispatchV2),
}

/// Which message to send, or what is more urgent of the same sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchV1 {
    /// The message's row.
    pub message_id: Uuid,
}

/// Whose messages to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchV2 {
    /// Our number, or the messaging service.
    pub sender: String,
    /// When the wake-up is due, by which the sender's row knows it again.
    pub due_at: Timestamp,
    /// How many wake-ups led to this one, each put on the queue by the handler of the one before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u32,
}

fn is_zero(hops: &u32) -> bool {
    *hops == 0
}

impl DispatchMessage {
    /// Asks for a message to be sent.
    #[must_use]
    pub fn new(message_id: Uuid) -> Self {
        Self::V1(DispatchV1 { message_id })
    }

    /// Asks for a sender to be looked at, after so many wake-ups that led to this one.
    #[must_use]
    pub fn wake_up(sender: String, due_at: Timestamp, hops: u32) -> Self {
        Self::V2(DispatchV2 { sender, due_at, hops })
    }
}

/// A conversation that a message has just come to, on `[identify]`: whose number is it?
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum IdentifyMessage {
    /// The first version.
    #[serde(rename = "1")]
    V1(IdentifyV1),
}

/// Which conversation, and how its number was written.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentifyV1 {
    /// The conversation.
    pub conversation_id: Uuid,
    /// The number as it was received.
    pub number: String,
}

impl std::fmt::Debug for IdentifyV1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentifyV1({}, …{})", self.conversation_id, last_four(&self.number))
    }
}

impl std::fmt::Debug for IdentifyMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::V1(identify) = self;
        identify.fmt(f)
    }
}

impl IdentifyMessage {
    /// Asks for a conversation's number to be looked up.
    #[must_use]
    pub fn new(conversation_id: Uuid, number: &str) -> Self {
        Self::V1(IdentifyV1 { conversation_id, number: number.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_forms_stay_as_they_are() {
        let webhook = WebhookMessage::V1(WebhookV1 {
            received_at: Timestamp::UNIX_EPOCH,
            form: "MessageSid=SM1&Body=a%00b".to_owned(),
            query: String::new(),
            idempotency_token: None,
        });
        insta::assert_snapshot!(
            serde_json::to_string(&webhook).unwrap(),
            @r#"{"version":"1","received_at":"1970-01-01T00:00:00Z","form":"MessageSid=SM1&Body=a%00b"}"#
        );
        let dispatch = DispatchMessage::new(Uuid::nil());
        insta::assert_snapshot!(
            serde_json::to_string(&dispatch).unwrap(),
            @r#"{"version":"1","message_id":"00000000-0000-0000-0000-000000000000"}"#
        );
        let wake_up = DispatchMessage::wake_up("+12035550100".to_owned(), Timestamp::UNIX_EPOCH, 0);
        let first = r#"{"version":"2","sender":"+12035550100","due_at":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(serde_json::to_string(&wake_up).unwrap(), first);
        assert_eq!(serde_json::from_str::<DispatchMessage>(first).unwrap(), wake_up);
        let later = DispatchMessage::wake_up("+12035550100".to_owned(), Timestamp::UNIX_EPOCH, 7);
        insta::assert_snapshot!(
            serde_json::to_string(&later).unwrap(),
            @r#"{"version":"2","sender":"+12035550100","due_at":"1970-01-01T00:00:00Z","hops":7}"#
        );
        let identify = IdentifyMessage::new(Uuid::nil(), "+12025550123");
        insta::assert_snapshot!(
            serde_json::to_string(&identify).unwrap(),
            @r#"{"version":"1","conversation_id":"00000000-0000-0000-0000-000000000000","number":"+12025550123"}"#
        );
        assert!(!format!("{identify:?}").contains("555"));
    }

    #[test]
    fn a_version_of_the_future_is_told_from_what_is_no_message() {
        for body in [r#"{"version":"3","message_id":1}"#, r#"{"version":3}"#] {
            let error = read::<DispatchMessage>(body).unwrap_err();
            assert!(matches!(error, ReadError::UnknownVersion), "{body}: {error}");
        }
        for body in ["", "hello", "[]", "{}", r#"{"version":"2"}"#, r#"{"version":"1","message_id":1}"#] {
            let error = read::<DispatchMessage>(body).unwrap_err();
            assert!(matches!(error, ReadError::Unreadable(_)), "{body}: {error}");
        }
    }

    /// The versions of an enum, as serde lists them when it meets another.
    #[test]
    fn every_version_that_can_be_read_is_known() {
        fn check<M: Versioned>() {
            let error = serde_json::from_str::<M>(r#"{"version":"?"}"#).err().unwrap().to_string();
            let listed: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
            assert_eq!(listed, M::VERSIONS, "{error}");
        }
        check::<WebhookMessage>();
        check::<DispatchMessage>();
        check::<IdentifyMessage>();
    }
}
