//! The queue messages. They have versions, so that new functions can read messages of old ones during a deployment.

use crate::domain::delivery::{Stream, StreamKind};
use crate::domain::ids::{ConversationId, MessageId, SubscriptionId};
use crate::domain::phone::last_four;
use crate::domain::sender::Sender;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A message with versions.
pub trait Versioned: DeserializeOwned {
    /// The versions that this build reads.
    const VERSIONS: &'static [&'static str];

    /// When the message should be received, if it was sent with a delay and knows it.
    fn due_at(&self) -> Option<Timestamp> {
        None
    }
}

/// A message of a fair queue: SQS prefers groups with few messages in flight, so one busy group does not delay others.
pub trait Grouped: Serialize {
    /// Returns SQS's `MessageGroupId`, if the group is known.
    fn group(&self) -> Option<String>;
}

/// Returns the group of a number, a sender or another key. It is a digest, because attributes contain no numbers.
#[must_use]
pub fn group_of(key: &str) -> String {
    hex::encode(&Sha256::digest(key)[..8])
}

impl<M: Grouped> Grouped for &M {
    fn group(&self) -> Option<String> {
        (**self).group()
    }
}

/// The group is the handset.
impl Grouped for WebhookMessage {
    fn group(&self) -> Option<String> {
        let Self::V1(webhook) = self;
        webhook.group.clone()
    }
}

/// The group is the sender.
impl Grouped for DispatchMessage {
    fn group(&self) -> Option<String> {
        let sender = match self {
            Self::V1(dispatch) => dispatch.sender.as_ref(),
            Self::V2(wake_up) => Some(&wake_up.sender),
        };
        sender.map(|sender| group_of(&sender.to_string()))
    }
}

/// The group is the handset.
impl Grouped for IdentifyMessage {
    fn group(&self) -> Option<String> {
        let Self::V1(identify) = self;
        Some(group_of(&identify.number))
    }
}

/// The group is the conversation.
impl Grouped for MediaMessage {
    fn group(&self) -> Option<String> {
        let Self::V1(media) = self;
        Some(media.conversation_id.to_string())
    }
}

/// The group is the stream. Hints that events were written have none: each is for all subscriptions.
impl Grouped for EventsMessage {
    fn group(&self) -> Option<String> {
        match self {
            Self::V1 => None,
            Self::V2(StreamHint { subscription_id, kind: StreamKind::Live, .. }) => {
                Some(subscription_id.to_string())
            }
            Self::V2(StreamHint { subscription_id, kind, .. }) => Some(format!("{subscription_id}:{kind}")),
        }
    }
}

impl Versioned for MediaMessage {
    const VERSIONS: &'static [&'static str] = &["1"];
}

impl Versioned for EventsMessage {
    const VERSIONS: &'static [&'static str] = &["1", "2"];
}

impl Versioned for WebhookMessage {
    const VERSIONS: &'static [&'static str] = &["1"];
}

impl Versioned for DispatchMessage {
    const VERSIONS: &'static [&'static str] = &["1", "2"];

    fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::V1(_) => None,
            Self::V2(wake_up) => Some(wake_up.due_at),
        }
    }
}

impl Versioned for IdentifyMessage {
    const VERSIONS: &'static [&'static str] = &["1"];
}

/// An error while decoding a message.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A newer build wrote the message. It can be read after this function is deployed.
    #[error("the message has an unknown version")]
    UnknownVersion,
    /// The message is not valid. serde_json's errors contain positions and types but no values of our messages.
    #[error("the message is not valid")]
    Unreadable(#[source] serde_json::Error),
}

/// Decodes a message.
///
/// # Errors
///
/// [`ReadError`]. Leave a message with an unknown version on its queue.
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

/// A webhook with a verified signature, on the queues `[inbound]` and `[status]` and in the spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum WebhookMessage {
    /// The first version.
    #[serde(rename = "1")]
    V1(WebhookV1),
}

/// The complete form of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookV1 {
    /// When the webhook function received it.
    pub received_at: Timestamp,
    /// All pairs of the form, verbatim and in order, percent-encoded because SQS rejects some characters.
    pub form: String,
    /// The query string of the webhook URL, with the parameters of our status callback URL.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Twilio's `I-Twilio-Idempotency-Token`, which is the same for all retries of one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_token: Option<String>,
    /// The message group: that of the handset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A hint that a sender may have a message to send, on the queue `[outbound]`. The rows in Postgres decide what is
/// sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum DispatchMessage {
    /// Version 1: a message that was stored or became due.
    #[serde(rename = "1")]
    V1(DispatchV1),
    /// Version 2: a wake-up for a sender.
    #[serde(rename = "2")]
    V2(DispatchV2),
}

/// A message to send. A more urgent message of the same sender is sent first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchV1 {
    /// The id of the message.
    pub message_id: MessageId,
    /// Its sender, for the message group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
}

/// A wake-up for a sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchV2 {
    /// Our number, or the SID of the messaging service.
    pub sender: Sender,
    /// When the wake-up is due. Identifies the wake-up in the sender's row.
    pub due_at: Timestamp,
    /// The number of previous wake-ups in this chain, in which each handler enqueues the next one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u32,
}

fn is_zero(hops: &u32) -> bool {
    *hops == 0
}

impl DispatchMessage {
    /// Creates a message of version 1.
    #[must_use]
    pub fn new(message_id: MessageId, sender: Option<Sender>) -> Self {
        Self::V1(DispatchV1 { message_id, sender })
    }

    /// Creates a wake-up for a sender, after `hops` previous ones.
    #[must_use]
    pub fn wake_up(sender: Sender, due_at: Timestamp, hops: u32) -> Self {
        Self::V2(DispatchV2 { sender, due_at, hops })
    }
}

/// A conversation with a new message whose tenant is looked up, on the queue `[identify]`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum IdentifyMessage {
    /// The first version.
    #[serde(rename = "1")]
    V1(IdentifyV1),
}

/// A conversation and its phone number.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentifyV1 {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The number as received, not normalized.
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
    /// Creates a message of version 1.
    #[must_use]
    pub fn new(conversation_id: ConversationId, number: &str) -> Self {
        Self::V1(IdentifyV1 { conversation_id, number: number.to_owned() })
    }
}

/// A hint that files of a message are to be copied or deleted, on the queue `[media]`. The rows in Postgres decide what
/// is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum MediaMessage {
    /// The first version.
    #[serde(rename = "1")]
    V1(MediaV1),
}

/// A message with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaV1 {
    /// The message.
    pub message_id: MessageId,
    /// Its conversation, for the message group.
    pub conversation_id: ConversationId,
}

impl MediaMessage {
    /// Creates a message of version 1.
    #[must_use]
    pub fn new(message_id: MessageId, conversation_id: ConversationId) -> Self {
        Self::V1(MediaV1 { message_id, conversation_id })
    }
}

/// A hint that there are events to deliver, on the queues `[events]` and `[slow-events]`. The rows in Postgres decide
/// what is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum EventsMessage {
    /// Version 1: events were written.
    #[serde(rename = "1")]
    V1,
    /// Version 2: a stream has events to deliver.
    #[serde(rename = "2")]
    V2(StreamHint),
}

/// A stream that has events to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamHint {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// Which of its streams.
    pub kind: StreamKind,
    /// Whether its receiver is slow: an attempt may take its full time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slow: bool,
}

impl StreamHint {
    /// Creates a hint for a stream.
    #[must_use]
    pub fn new(stream: Stream, slow: bool) -> Self {
        Self { subscription_id: stream.subscription_id, kind: stream.kind, slow }
    }

    /// Returns the stream.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream { subscription_id: self.subscription_id, kind: self.kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_json_of_each_version_does_not_change() {
        let webhook = WebhookMessage::V1(WebhookV1 {
            received_at: Timestamp::UNIX_EPOCH,
            form: "MessageSid=SM1&Body=a%00b".to_owned(),
            query: String::new(),
            idempotency_token: None,
            group: None,
        });
        insta::assert_snapshot!(
            serde_json::to_string(&webhook).unwrap(),
            @r#"{"version":"1","received_at":"1970-01-01T00:00:00Z","form":"MessageSid=SM1&Body=a%00b"}"#
        );
        let dispatch = DispatchMessage::new(Uuid::nil().into(), None);
        insta::assert_snapshot!(
            serde_json::to_string(&dispatch).unwrap(),
            @r#"{"version":"1","message_id":"00000000-0000-0000-0000-000000000000"}"#
        );
        let dispatch = DispatchMessage::new(Uuid::nil().into(), Some("+12035550100".into()));
        insta::assert_snapshot!(
            serde_json::to_string(&dispatch).unwrap(),
            @r#"{"version":"1","message_id":"00000000-0000-0000-0000-000000000000","sender":"+12035550100"}"#
        );
        let wake_up = DispatchMessage::wake_up("+12035550100".into(), Timestamp::UNIX_EPOCH, 0);
        let first = r#"{"version":"2","sender":"+12035550100","due_at":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(serde_json::to_string(&wake_up).unwrap(), first);
        assert_eq!(serde_json::from_str::<DispatchMessage>(first).unwrap(), wake_up);
        let later = DispatchMessage::wake_up("+12035550100".into(), Timestamp::UNIX_EPOCH, 7);
        insta::assert_snapshot!(
            serde_json::to_string(&later).unwrap(),
            @r#"{"version":"2","sender":"+12035550100","due_at":"1970-01-01T00:00:00Z","hops":7}"#
        );
        let identify = IdentifyMessage::new(Uuid::nil().into(), "+12025550123");
        insta::assert_snapshot!(
            serde_json::to_string(&identify).unwrap(),
            @r#"{"version":"1","conversation_id":"00000000-0000-0000-0000-000000000000","number":"+12025550123"}"#
        );
        assert!(!format!("{identify:?}").contains("555"));
        let media = MediaMessage::new(Uuid::nil().into(), Uuid::max().into());
        let expected = concat!(
            r#"{"version":"1","message_id":"00000000-0000-0000-0000-000000000000","#,
            r#""conversation_id":"ffffffff-ffff-ffff-ffff-ffffffffffff"}"#
        );
        assert_eq!(serde_json::to_string(&media).unwrap(), expected);
        insta::assert_snapshot!(serde_json::to_string(&EventsMessage::V1).unwrap(), @r#"{"version":"1"}"#);
        let subscription_id = Uuid::nil().into();
        let hint = |kind, slow| EventsMessage::V2(StreamHint::new(Stream { subscription_id, kind }, slow));
        insta::assert_snapshot!(
            serde_json::to_string(&hint(StreamKind::Live, false)).unwrap(),
            @r#"{"version":"2","subscription_id":"00000000-0000-0000-0000-000000000000","kind":"live"}"#
        );
        let slow = concat!(
            r#"{"version":"2","subscription_id":"00000000-0000-0000-0000-000000000000","#,
            r#""kind":"replay","slow":true}"#
        );
        assert_eq!(serde_json::from_str::<EventsMessage>(slow).unwrap(), hint(StreamKind::Replay, true));
        assert_eq!(serde_json::to_string(&hint(StreamKind::Replay, true)).unwrap(), slow);
    }

    #[test]
    fn the_streams_of_a_subscription_have_groups_and_hints_of_writers_have_none() {
        let subscription_id = Uuid::nil().into();
        let group =
            |kind| EventsMessage::V2(StreamHint::new(Stream { subscription_id, kind }, false)).group();
        assert_eq!(group(StreamKind::Live).as_deref(), Some("00000000-0000-0000-0000-000000000000"));
        assert_eq!(group(StreamKind::Replay).as_deref(), Some("00000000-0000-0000-0000-000000000000:replay"));
        assert_eq!(EventsMessage::V1.group(), None);
    }

    #[test]
    fn messages_of_one_sender_or_handset_have_one_group_without_its_number() {
        let sender = || Some("+12035550100".into());
        let dispatch = DispatchMessage::new(Uuid::nil().into(), sender()).group();
        let wake_up = DispatchMessage::wake_up("+12035550100".into(), Timestamp::UNIX_EPOCH, 0).group();
        assert_eq!(dispatch, wake_up);
        let other = IdentifyMessage::new(Uuid::nil().into(), "+12025550123").group();
        assert_ne!(dispatch, other);
        for group in [dispatch, wake_up, other] {
            let group = group.unwrap();
            assert!(group.len() == 16 && !group.contains("0355501"), "{group}");
        }
    }

    #[test]
    fn an_unknown_version_and_an_invalid_message_are_different_errors() {
        for body in [r#"{"version":"3","message_id":1}"#, r#"{"version":3}"#] {
            let error = read::<DispatchMessage>(body).unwrap_err();
            assert!(matches!(error, ReadError::UnknownVersion), "{body}: {error}");
        }
        for body in ["", "hello", "[]", "{}", r#"{"version":"2"}"#, r#"{"version":"1","message_id":1}"#] {
            let error = read::<DispatchMessage>(body).unwrap_err();
            assert!(matches!(error, ReadError::Unreadable(_)), "{body}: {error}");
        }
    }

    #[test]
    fn the_listed_versions_are_those_that_serde_accepts() {
        // serde's error for an unknown variant lists the accepted ones.
        fn check<M: Versioned>() {
            let error = serde_json::from_str::<M>(r#"{"version":"?"}"#).err().unwrap().to_string();
            let listed: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
            assert_eq!(listed, M::VERSIONS, "{error}");
        }
        check::<WebhookMessage>();
        check::<DispatchMessage>();
        check::<IdentifyMessage>();
        check::<MediaMessage>();
        check::<EventsMessage>();
    }
}
