//! The Message resource of Twilio's REST API.

use crate::domain::sids::MessageSid;
use jiff::Timestamp;
use serde_json::Value;

/// A Message resource. Only the SID is required: if another property is missing or malformed, the message still exists
/// at Twilio, and we must store its SID.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// `SM…` or, with media, `MM…`.
    pub sid: MessageSid,
    /// Twilio's status, verbatim; empty if missing.
    pub status: String,
    /// `inbound`, `outbound-api`, `outbound-reply` or `outbound-call`; empty if missing.
    pub direction: String,
    /// The recipient.
    pub to: Option<String>,
    /// The sender; `None` until a messaging service has chosen one.
    pub from: Option<String>,
    /// The text.
    pub body: Option<String>,
    /// The messaging service, if the message was sent with one.
    pub messaging_service_sid: Option<String>,
    /// The number of segments; `None` while unknown, which Twilio writes as 0.
    pub num_segments: Option<u32>,
    /// The number of media files.
    pub num_media: u32,
    /// The error code of a failed message.
    pub error_code: Option<u32>,
    /// When Twilio created the resource (`date_created`).
    pub created_at: Option<Timestamp>,
    /// When Twilio sent the message (`date_sent`).
    pub sent_at: Option<Timestamp>,
    /// When the resource last changed (`date_updated`): its status, or a redaction.
    pub updated_at: Option<Timestamp>,
    /// The complete JSON.
    pub json: Value,
}

impl Message {
    /// Reads Twilio's JSON. Returns `None` if it has no SID.
    #[must_use]
    pub fn from_json(json: &Value) -> Option<Self> {
        let text = |key: &str| json.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let instant = |key: &str| Some(jiff::fmt::rfc2822::parse(&text(key)?).ok()?.timestamp());
        Some(Self {
            // Postgres cannot store NUL characters.
            sid: text("sid")?.replace('\0', "").try_into().ok()?,
            status: text("status").unwrap_or_default(),
            direction: text("direction").unwrap_or_default(),
            to: text("to"),
            from: text("from"),
            body: text("body"),
            messaging_service_sid: text("messaging_service_sid"),
            num_segments: number(json, "num_segments").filter(|&segments| segments > 0),
            num_media: number(json, "num_media").unwrap_or(0),
            error_code: number(json, "error_code"),
            created_at: instant("date_created"),
            sent_at: instant("date_sent"),
            updated_at: instant("date_updated"),
            json: json.clone(),
        })
    }
}

/// Omits phone numbers and the text.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("sid", &self.sid)
            .field("status", &self.status)
            .field("error_code", &self.error_code)
            .finish_non_exhaustive()
    }
}

/// Reads a number, which Twilio writes as a string in some properties.
fn number(json: &Value, key: &str) -> Option<u32> {
    let value = json.get(key)?;
    value.as_u64().and_then(|number| number.try_into().ok()).or_else(|| value.as_str()?.parse().ok())
}
