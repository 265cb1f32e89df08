//! The response bodies.

use crate::items::{Item, Refusal};
use common::db::sends::NewSend;
use common::domain::ids::{BatchId, ConversationId, MessageId};
use common::domain::language::{Language, detect};
use common::domain::message::Priority;
use common::domain::quiet_hours::QuietHours;
use common::domain::segments;
use common::http::{ApiError, FieldError};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An accepted request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "batch_id": "01900000-0000-7000-8000-0000000000b1", "accepted": 1, "rejected": 1,
    "items": [{"index": 0, "id": "01900000-0000-7000-8000-00000000000d", "status": "accepted"}, {"index": 1,
        "status": "rejected", "error": {"code": "sms.validation_error", "message": "the request is not valid",
        "details": [{"field": "to", "reason": "is missing"}]}}]
}))]
pub struct BulkAccepted {
    /// Batch id.
    #[schema(value_type = uuid::Uuid)]
    pub batch_id: BatchId,
    /// The number of accepted messages.
    pub accepted: usize,
    /// The number of refused messages.
    pub rejected: usize,
    /// One entry per message, in the order of the request.
    pub items: Vec<BulkItem>,
}

/// What happened to a message of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BulkItem {
    /// Its position in the request, from 0.
    pub index: usize,
    /// Message id, if it was accepted.
    #[schema(value_type = Option<uuid::Uuid>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// `accepted` or `rejected`.
    #[schema(pattern = "^(accepted|rejected)$")]
    pub status: &'static str,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<BulkItemError>,
}

/// Why a message was refused: the error that `POST /sms/send` would return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BulkItemError {
    /// Stable error code, such as `sms.validation_error`.
    #[schema(value_type = String, pattern = r"^sms\.[a-z_]+$")]
    pub code: &'static str,
    /// Description in English.
    pub message: String,
    /// All invalid fields; empty for other errors.
    pub details: Vec<FieldError>,
}

impl From<ApiError> for BulkItemError {
    fn from(error: ApiError) -> Self {
        let details = match &error {
            ApiError::Validation(problems) => problems.fields().to_vec(),
            _ => Vec::new(),
        };
        Self { code: error.code(), message: error.to_string(), details }
    }
}

impl BulkAccepted {
    /// Combines the prepared entries with the conversations of those that were stored, in order. `None` is a recipient
    /// who opted out in the meantime.
    pub(crate) fn new(batch_id: BatchId, prepared: &[Item], stored: &[Option<ConversationId>]) -> Self {
        let mut stored = stored.iter();
        let items: Vec<BulkItem> = prepared
            .iter()
            .enumerate()
            .map(|(index, item)| match item {
                Ok(ready) if stored.next().is_some_and(Option::is_some) => {
                    BulkItem { index, id: Some(ready.send.id), status: "accepted", error: None }
                }
                Ok(_) => rejected(index, &Refusal::OptedOut),
                Err(refusal) => rejected(index, refusal),
            })
            .collect();
        let accepted = items.iter().filter(|item| item.id.is_some()).count();
        Self { batch_id, accepted, rejected: items.len() - accepted, items }
    }
}

fn rejected(index: usize, refusal: &Refusal) -> BulkItem {
    BulkItem { index, id: None, status: "rejected", error: Some(refusal.error().into()) }
}

/// What a request would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "accepted": 2, "rejected": [], "opted_out": 0, "in_quiet_hours": 0, "segments": 2,
    "by_language": {
        "en": {"messages": 1, "segments": 1, "encodings": {"GSM-7": 1},
            "longest": {"to": "+12025550124", "segments": 1, "body": "Hi Tom, the water is off on May 3."}},
        "es": {"messages": 1, "segments": 1, "encodings": {"GSM-7": 1},
            "longest": {"to": "+12025550123", "segments": 1, "body": "Hola Ana, el 3 de mayo no hay agua."}}
    },
    "longest": {"to": "+12025550123", "segments": 1, "body": "Hola Ana, el 3 de mayo no hay agua."}
}))]
pub struct DryRun {
    /// The number of messages that would be accepted.
    pub accepted: usize,
    /// The refused messages by reason, the most frequent first.
    pub rejected: Vec<RejectedCount>,
    /// The refused messages whose recipients have opted out; included in `rejected`.
    pub opted_out: usize,
    /// The accepted messages that would wait for the end of quiet hours.
    pub in_quiet_hours: usize,
    /// The segments of the accepted messages.
    pub segments: usize,
    /// The accepted messages by language: that of the chosen text, or the detected one.
    pub by_language: BTreeMap<String, LanguageCount>,
    /// The longest accepted message.
    pub longest: Option<Longest>,
}

/// Refused messages with the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RejectedCount {
    /// `opted_out`, `number_deactivated`, `duplicate`, `rate_limited`, or a field and what is wrong with it.
    pub reason: String,
    /// The number of messages.
    pub count: usize,
}

/// Accepted messages in a language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LanguageCount {
    /// The number of messages.
    pub messages: usize,
    /// Their segments.
    pub segments: usize,
    /// The number of messages by encoding: `GSM-7` and `UCS-2`.
    pub encodings: BTreeMap<String, usize>,
    /// The longest of them: a preview of a template.
    pub longest: Option<Longest>,
}

/// The longest message: that with the most segments, and among these with the most characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Longest {
    /// Recipient in E.164.
    pub to: String,
    /// Its segments.
    pub segments: usize,
    /// Its text.
    pub body: String,
}

impl DryRun {
    /// Counts the prepared entries.
    pub(crate) fn new(prepared: &[Item], quiet: Option<&QuietHours>, now: Timestamp) -> Self {
        let mut run = Self::default();
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for item in prepared {
            let ready = match item {
                Ok(ready) => ready,
                Err(refusal) => {
                    run.opted_out += usize::from(matches!(refusal, Refusal::OptedOut));
                    *reasons.entry(refusal.reason()).or_default() += 1;
                    continue;
                }
            };
            let send = &ready.send;
            let segments = segments::count(&send.message_content).segments;
            run.accepted += 1;
            run.segments += segments;
            let at = send.send_at.unwrap_or(now).max(now);
            let is_quiet = send.priority != Priority::Urgent
                && quiet.is_some_and(|quiet| {
                    quiet.until(&send.to, ready.time_zone.as_deref(), send.purpose, at).is_some()
                });
            run.in_quiet_hours += usize::from(is_quiet);
            let language: Language = ready.language.unwrap_or_else(|| detect(&send.message_content).language);
            let count = run.by_language.entry(language.to_string()).or_default();
            count.messages += 1;
            count.segments += segments;
            *count.encodings.entry(send.encoding.to_string()).or_default() += 1;
            keep_longer(&mut count.longest, send, segments);
            keep_longer(&mut run.longest, send, segments);
        }
        run.rejected = reasons.into_iter().map(|(reason, count)| RejectedCount { reason, count }).collect();
        run.rejected.sort_by_key(|rejected| std::cmp::Reverse(rejected.count));
        run
    }
}

/// Replaces `longest` by a longer message.
fn keep_longer(longest: &mut Option<Longest>, send: &NewSend, segments: usize) {
    let body = &send.message_content;
    let is_longer = longest
        .as_ref()
        .is_none_or(|known| (segments, body.chars().count()) > (known.segments, known.body.chars().count()));
    if is_longer {
        *longest = Some(Longest { to: send.to.clone().into(), segments, body: body.clone() });
    }
}
