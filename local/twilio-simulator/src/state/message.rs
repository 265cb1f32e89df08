//! The Message resource and the texts that handsets received.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::rfc2822;
use crate::error_codes;
use crate::state::plan::Plan;
use crate::state::segments;
use crate::state::status::Status;

/// The API version in paths and responses.
pub(crate) const API_VERSION: &str = "2010-04-01";

/// The longest validity period, and the default: ten hours.
pub(crate) const MAX_VALIDITY_SECONDS: u32 = 36_000;

/// The maximum number of media files of a message.
/// <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>
pub(crate) const MAX_MEDIA: usize = 10;

/// The maximum size of a media file: 5 MB.
/// <https://www.twilio.com/docs/messaging/guides/accepted-mime-types>
pub(crate) const MAX_MEDIA_BYTES: usize = 5 * 1024 * 1024;

/// The direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    Inbound,
    OutboundApi,
    OutboundReply,
}

/// A media file of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Media {
    pub(crate) sid: String,
    pub(crate) url: String,
    pub(crate) content_type: String,
    /// Whether the simulator has the bytes. Without them, only the URL is known.
    #[serde(default)]
    pub(crate) is_stored: bool,
}

impl Media {
    /// Describes the file at `url`. The content type follows from the file name; nothing is fetched.
    pub(crate) fn new(sid: String, url: &str) -> Self {
        let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let content_type = match path.rsplit('.').next().unwrap_or_default() {
            "png" => "image/png",
            "gif" => "image/gif",
            "pdf" => "application/pdf",
            "mp4" => "video/mp4",
            "vcf" => "text/vcard",
            _ => "image/jpeg",
        };
        Self { sid, url: url.to_owned(), content_type: content_type.to_owned(), is_stored: false }
    }
}

/// One inbound or outbound message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) sid: String,
    pub(crate) direction: Direction,
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    pub(crate) body: String,
    pub(crate) media: Vec<Media>,
    pub(crate) messaging_service_sid: Option<String>,
    pub(crate) status: Status,
    pub(crate) error_code: Option<u32>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) sent: Option<Timestamp>,
    pub(crate) send_at: Option<Timestamp>,
    pub(crate) validity_seconds: u32,
    pub(crate) status_callback: Option<String>,
    pub(crate) plan: Plan,
}

impl Message {
    /// Returns the path of the Message resource.
    pub(crate) fn uri(&self, account_sid: &str) -> String {
        format!("/{API_VERSION}/Accounts/{account_sid}/Messages/{}.json", self.sid)
    }

    /// Returns the Message resource as JSON.
    pub(crate) fn resource(&self, account_sid: &str) -> Value {
        let uri = self.uri(account_sid);
        let media = format!("{}/Media.json", uri.trim_end_matches(".json"));
        json!({
            "account_sid": account_sid,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": rfc2822(self.created),
            "date_sent": self.sent.map(rfc2822),
            "date_updated": rfc2822(self.updated),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": self.error_code.map(error_codes::text),
            "from": self.from,
            "messaging_service_sid": self.messaging_service_sid,
            "num_media": self.media.len().to_string(),
            "num_segments": self.num_segments().to_string(),
            "price": null,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": { "media": media },
            "to": self.to,
            "uri": uri,
        })
    }

    /// Returns the path of a media file.
    pub(crate) fn media_uri(&self, account_sid: &str, media_sid: &str) -> String {
        format!("{}/Media/{media_sid}", self.uri(account_sid).trim_end_matches(".json"))
    }

    /// Returns the phone number that does not belong to the account.
    pub(crate) fn handset(&self) -> &str {
        match self.direction {
            Direction::Inbound => self.from.as_deref().unwrap_or_default(),
            _ => &self.to,
        }
    }

    /// Sets the status and the error code.
    pub(crate) fn advance(&mut self, status: Status, error_code: Option<u32>, now: Timestamp) {
        self.status = status;
        self.error_code = error_code;
        self.updated = now;
        if status == Status::Sent {
            self.sent = Some(now);
        }
    }

    /// Returns 0 until the messaging service has selected a sender.
    fn num_segments(&self) -> u32 {
        if self.from.is_none() { 0 } else { segments::count(&self.body) }
    }

    /// Returns the parameters of a status callback.
    /// <https://www.twilio.com/docs/messaging/guides/track-outbound-message-status>
    pub(crate) fn status_form(&self, account_sid: &str) -> Vec<(String, String)> {
        let status = self.status.as_str();
        let mut form = vec![
            ("ApiVersion", API_VERSION.to_owned()),
            ("MessageStatus", status.to_owned()),
            ("SmsSid", self.sid.clone()),
            ("SmsStatus", status.to_owned()),
            ("To", self.to.clone()),
            ("From", self.from.clone().unwrap_or_default()),
            ("MessageSid", self.sid.clone()),
            ("AccountSid", account_sid.to_owned()),
        ];
        if let Some(service) = &self.messaging_service_sid {
            form.push(("MessagingServiceSid", service.clone()));
        }
        if matches!(self.status, Status::Delivered | Status::Undelivered) {
            form.push(("RawDlrDoneDate", self.updated.strftime("%y%m%d%H%M").to_string()));
        }
        if let Some(code) = self.error_code {
            form.push(("ErrorCode", code.to_string()));
            form.push(("ErrorMessage", error_codes::text(code).to_owned()));
        }
        form.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// A text that a handset received: one entry of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) message_sid: String,
    pub(crate) handset: String,
    pub(crate) from: String,
    pub(crate) body: String,
    pub(crate) media_urls: Vec<String>,
    /// A `message` from the REST API, a TwiML `reply`, or a `notice` from Twilio (response to a keyword).
    pub(crate) kind: ReceivedKind,
    pub(crate) at: Timestamp,
}

impl Received {
    pub(crate) fn of(message: &Message, kind: ReceivedKind) -> Self {
        Self {
            message_sid: message.sid.clone(),
            handset: message.to.clone(),
            from: message.from.clone().unwrap_or_default(),
            body: message.body.clone(),
            media_urls: message.media.iter().map(|media| media.url.clone()).collect(),
            kind,
            at: message.updated,
        }
    }
}

/// The origin of a received text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReceivedKind {
    Message,
    Reply,
    Notice,
}
