//! A message as Twilio's REST API describes it.

use jiff::Timestamp;
use serde_json::Value;

/// A message as Twilio has it. Only the SID is sure: whatever else is missing or odd must not turn a message that
/// was created into one of which we know nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// `SM…` or, with media, `MM…`.
    pub sid: String,
    /// Twilio's status, verbatim; empty if it gave none.
    pub status: String,
    /// `inbound`, `outbound-api`, `outbound-reply` or `outbound-call`; empty if it gave none.
    pub direction: String,
    /// The recipient.
    pub to: Option<String>,
    /// The sender; `None` while a messaging service has not chosen one.
    pub from: Option<String>,
    /// The text.
    pub body: Option<String>,
    /// The messaging service, if one sends it.
    pub messaging_service_sid: Option<String>,
    /// How many segments it takes; `None` while that isn't known, which Twilio writes as 0.
    pub num_segments: Option<u32>,
    /// How many files it has.
    pub num_media: u32,
    /// Why it failed.
    pub error_code: Option<u32>,
    /// When Twilio took it.
    pub created_at: Option<Timestamp>,
    /// When Twilio sent it.
    pub sent_at: Option<Timestamp>,
    /// When its status changed last, as far as Twilio shows: a redaction counts too.
    pub updated_at: Option<Timestamp>,
    /// All that Twilio said of it.
    pub json: Value,
}

impl Message {
    /// Reads Twilio's JSON; `None` if it has no SID.
    #[must_use]
    pub fn from_json(json: &Value) -> Option<Self> {
        let text = |key: &str| json.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let instant = |key: &str| Some(jiff::fmt::rfc2822::parse(&text(key)?).ok()?.timestamp());
        Some(Self {
            sid: text("sid")?,
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

/// Shows no number and no text.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("sid", &self.sid)
            .field("status", &self.status)
            .field("error_code", &self.error_code)
            .finish_non_exhaustive()
    }
}

/// Twilio writes some numbers as strings.
fn number(json: &Value, key: &str) -> Option<u32> {
    let value = json.get(key)?;
    value.as_u64().and_then(|number| number.try_into().ok()).or_else(|| value.as_str()?.parse().ok())
}
