//! Events: their types, their data and their body.
//!
//! An event reports a change to other services. It is thin: ids, statuses, codes and languages, but no text and no
//! number. The statement that makes the change writes the body as text (`migrations/functions/sms_emit_events.sql`).
//! Data that are known before come from here; SQL completes the rest. A test compares both for each type.

mod schema;

pub use schema::schema;

use super::batch::BatchStatus;
use super::ids::{BatchId, ConversationId, MediaId, MessageId, SubscriptionId};
use super::keywords::OptOut;
use super::language::Language;
use super::message::{Direction, Status};
use super::named::named_enum;
use super::opt_out::OptOutSource;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

named_enum! {
    /// The type of an event.
    pub enum EventType: "an event type" {
        /// An inbound message was stored: [`MessageReceived`].
        MessageReceived = "message.received",
        /// The status of an outbound message changed: [`MessageStatus`].
        MessageStatus = "message.status",
        /// An outbound message failed: [`MessageFailed`].
        MessageFailed = "message.failed",
        /// A file of an inbound message was copied to object storage: [`MediaStored`].
        MediaStored = "media.stored",
        /// The tenant of a number became known or another one: [`TenantIdentified`].
        TenantIdentified = "conversation.tenant_identified",
        /// The language of a conversation changed: [`LanguageChanged`].
        LanguageChanged = "conversation.language_changed",
        /// A number opted out of messages: [`OptedOut`].
        OptedOut = "contact.opted_out",
        /// A number opted in again: [`OptedIn`].
        OptedIn = "contact.opted_in",
        /// A message may be an opt-out: [`OptOutSuspected`].
        OptOutSuspected = "contact.opt_out_suspected",
        /// The carrier of a number deactivated it: [`NumberDeactivated`].
        NumberDeactivated = "contact.number_deactivated",
        /// Every message of a batch has its final status: [`BatchCompleted`].
        BatchCompleted = "batch.completed",
        /// A subscription fails and will be disabled: [`SubscriptionWarning`].
        SubscriptionWarning = "subscription.warning",
        /// A subscription was disabled: [`SubscriptionDisabled`].
        SubscriptionDisabled = "subscription.disabled",
    }
}

impl EventType {
    /// Returns the version of the type's schema. New fields keep it; any other change needs a new version.
    #[must_use]
    pub const fn version(self) -> u32 {
        match self {
            Self::MessageReceived
            | Self::MessageStatus
            | Self::MessageFailed
            | Self::MediaStored
            | Self::TenantIdentified
            | Self::LanguageChanged
            | Self::OptedOut
            | Self::OptedIn
            | Self::OptOutSuspected
            | Self::NumberDeactivated
            | Self::BatchCompleted
            | Self::SubscriptionWarning
            | Self::SubscriptionDisabled => 1,
        }
    }

    /// Returns whether the type is about a conversation. The body of another is a [`ServiceEvent`].
    #[must_use]
    pub const fn is_about_conversation(self) -> bool {
        !matches!(self, Self::BatchCompleted | Self::SubscriptionWarning | Self::SubscriptionDisabled)
    }

    /// Returns the types whose data get the numbers and the text of their message for subscriptions with `content`.
    #[must_use]
    pub const fn with_content() -> [Self; 2] {
        [Self::MessageReceived, Self::MessageStatus]
    }

    /// Returns when an event of the type is written.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::MessageReceived => "An inbound message was stored.",
            Self::MessageStatus => {
                "The status of an outbound message changed, the message was parked for an operator, or a failed \
                 message got its error code."
            }
            Self::MessageFailed => {
                "An outbound message failed and is not sent again automatically. Written once per failure, after \
                 its `message.status`."
            }
            Self::MediaStored => "A file of an inbound message was stored, and `GET /media/{id}` returns it.",
            Self::TenantIdentified => "The tenant of a number became known, or is another one.",
            Self::LanguageChanged => "The language of a conversation changed.",
            Self::OptedOut => "A number opted out of messages.",
            Self::OptedIn => "A number that had opted out opted in again.",
            Self::OptOutSuspected => "A message may be an opt-out. Messages to the number continue.",
            Self::NumberDeactivated => {
                "The carrier of a number deactivated it. Messages to it are refused until it writes or is opted in."
            }
            Self::BatchCompleted => {
                "Every message of a batch has its final status, or was sent so long ago that no status is expected. \
                 Written again if messages join the batch later."
            }
            Self::SubscriptionWarning => {
                "A subscription has failed for 50 or 90 percent of the time after which it is disabled. Other \
                 subscriptions get the event."
            }
            Self::SubscriptionDisabled => {
                "A subscription was disabled because it failed for too long, or because its receiver answered 410. \
                 Other subscriptions get the event."
            }
        }
    }
}

/// The body of an event, with the data of its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event<D> {
    /// Its id, the same in every delivery.
    pub id: Uuid,
    /// Its type.
    pub r#type: EventType,
    /// When the change was made.
    pub timestamp: Timestamp,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The number of the event in its conversation: 1, 2, 3 … without gaps.
    pub conversation_sequence: i64,
    /// The message, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The tenant of the conversation, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The workflow of the message or else of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_type: Option<String>,
    /// The data of the type.
    pub data: D,
}

/// The body of an event without a conversation, such as one about a batch or a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEvent<D> {
    /// Its id, the same in every delivery.
    pub id: Uuid,
    /// Its type.
    pub r#type: EventType,
    /// When the change was made.
    pub timestamp: Timestamp,
    /// The data of the type.
    pub data: D,
}

/// The data of a type of events.
pub trait EventData: Serialize {
    /// The type.
    const TYPE: EventType;

    /// Returns the JSON.
    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

macro_rules! event_data {
    ($($data:ident: $type:ident,)+) => {
        $(impl EventData for $data {
            const TYPE: EventType = EventType::$type;
        })+
    };
}

event_data! {
    MessageReceived: MessageReceived,
    MessageStatus: MessageStatus,
    MessageFailed: MessageFailed,
    MediaStored: MediaStored,
    TenantIdentified: TenantIdentified,
    LanguageChanged: LanguageChanged,
    OptedOut: OptedOut,
    OptedIn: OptedIn,
    OptOutSuspected: OptOutSuspected,
    NumberDeactivated: NumberDeactivated,
    BatchCompleted: BatchCompleted,
    SubscriptionWarning: SubscriptionWarning,
    SubscriptionDisabled: SubscriptionDisabled,
}

/// Data of `message.received`: an inbound message was stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageReceived {
    /// Always `inbound`.
    #[schema(inline)]
    pub direction: Direction,
    /// Twilio's message SID.
    pub twilio_sid: String,
    /// The language of the message.
    #[schema(inline)]
    pub language: Language,
    /// The confidence, 0 to 1.
    pub language_confidence: f64,
    /// The number of media.
    pub num_media: u32,
    /// Whether the message refuses messages: `opt_out`, `unsure` or `none`.
    #[schema(inline)]
    pub opt_out: OptOut,
}

/// Data of `message.status`: the status of an outbound message changed, the message was parked, or a failed message
/// got its error code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageStatus {
    /// The status.
    #[schema(inline)]
    pub status: Status,
    /// The status before; the same if only `parked` or `error_code` changed.
    #[schema(inline)]
    pub previous_status: Status,
    /// Twilio's error code, or one of this service.
    pub error_code: Option<String>,
    /// Whether the message waits for an operator's decision.
    pub parked: bool,
}

/// Data of `message.failed`: an outbound message failed and is not sent again automatically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageFailed {
    /// `failed` or `undelivered`.
    #[schema(inline)]
    pub status: Status,
    /// Twilio's error code, or one of this service. A later `message.status` may add it.
    pub error_code: Option<String>,
}

/// Data of `media.stored`: a file of an inbound message was copied to object storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MediaStored {
    /// The file, for `GET /media/{id}`.
    #[schema(value_type = Uuid)]
    pub media_id: MediaId,
    /// The type that its bytes have.
    pub content_type: String,
    /// Its size in bytes.
    pub size: i32,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// Data of `conversation.tenant_identified`: the tenant of a number became known, or is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantIdentified {
    /// The tenant.
    pub tenant_id: String,
    /// The tenant before.
    pub previous_tenant_id: Option<String>,
    /// The id of the request that caused the lookup.
    pub request_id: String,
}

named_enum! {
    /// What a language follows from.
    pub enum LanguageSource: "the source of a language" {
        /// A message of this conversation.
        Message = "message",
        /// Another number of the tenant, the tenant's profile, or a change of the tenant.
        Tenant = "tenant",
    }
}

/// Data of `conversation.language_changed`: the language of a conversation changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LanguageChanged {
    /// The language; `unknown` if it was that of an earlier tenant.
    #[schema(inline)]
    pub language: Language,
    /// The language before.
    #[schema(inline)]
    pub previous_language: Language,
    /// The confidence, 0 to 1.
    pub confidence: f64,
    /// What the language follows from.
    #[schema(inline)]
    pub source: LanguageSource,
    /// The id of the request that caused the change, if there is one.
    pub request_id: Option<String>,
}

/// Data of `contact.opted_out`: a number opted out of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OptedOut {
    /// How it was detected.
    #[schema(inline)]
    pub source: OptOutSource,
    /// What it applies to, if not to all messages: `workflow:` with a workflow type, or `purpose:` with a purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// Data of `contact.opted_in`: a number that had opted out opted in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OptedIn {
    /// How it was detected.
    #[schema(inline)]
    pub source: OptOutSource,
    /// What it applies to, if not to all messages: `workflow:` with a workflow type, or `purpose:` with a purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// Data of `contact.opt_out_suspected`: a message may be an opt-out. Messages to the number continue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OptOutSuspected {
    /// Twilio's message SID.
    pub twilio_sid: String,
}

named_enum! {
    /// Who reported that a number is deactivated.
    pub enum DeactivationSource: "the source of a deactivation" {
        /// Twilio's daily list.
        Twilio = "twilio",
    }
}

/// Data of `contact.number_deactivated`: the carrier of a number deactivated it. Messages to it are refused until it
/// writes or is opted in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NumberDeactivated {
    /// Who reported it.
    #[schema(inline)]
    pub source: DeactivationSource,
}

/// Data of `batch.completed`: every message of a batch has its final status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchCompleted {
    /// The batch.
    #[schema(value_type = Uuid)]
    pub batch_id: BatchId,
    /// `completed` or `cancelled`.
    #[schema(inline)]
    pub status: BatchStatus,
    /// The number of accepted messages.
    pub total: i32,
    /// The number of messages by status.
    pub by_status: BTreeMap<String, i32>,
    /// The number of segments of all messages.
    pub segments: i64,
}

/// Data of `subscription.warning`: a subscription has failed since its last success, and will be disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubscriptionWarning {
    /// The subscription.
    #[schema(value_type = Uuid)]
    pub subscription_id: SubscriptionId,
    /// How much of the time has passed: 50 or 90.
    pub percent: u32,
    /// The first failure after the last success.
    pub failing_since: Timestamp,
    /// When it will be disabled, unless a delivery succeeds before.
    pub disabled_at: Timestamp,
}

named_enum! {
    /// Why a subscription was disabled.
    pub enum DisabledReason: "a reason why a subscription is disabled" {
        /// It failed for too long.
        Failing = "failing",
        /// Its receiver answered 410.
        Gone = "gone",
    }
}

/// Data of `subscription.disabled`: a subscription was disabled. Its events are delivered after it is enabled again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubscriptionDisabled {
    /// The subscription.
    #[schema(value_type = Uuid)]
    pub subscription_id: SubscriptionId,
    /// Why.
    #[schema(inline)]
    pub reason: DisabledReason,
    /// The first failure after the last success, if there is one.
    pub failing_since: Option<Timestamp>,
}
