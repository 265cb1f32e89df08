//! A message and what becomes of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clock::rfc2822;
use super::error;
use super::faults::Plan;

/// The API version in every path and answer.
pub(super) const API_VERSION: &str = "2010-04-01";

/// The statuses that this simulator gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Accepted,
    Scheduled,
    Queued,
    Sent,
    Delivered,
    Undelivered,
    Failed,
    Canceled,
    Received,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Received => "received",
        }
    }

    /// Whether a message is still on its way to the network.
    pub(super) fn in_progress(self) -> bool {
        matches!(self, Self::Accepted | Self::Scheduled | Self::Queued)
    }

    /// Whether nothing follows.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Undelivered | Self::Failed | Self::Canceled | Self::Received)
    }
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Direction {
    Inbound,
    OutboundApi,
    OutboundReply,
}

/// A file that goes with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Media {
    pub(super) sid: String,
    pub(super) url: String,
    pub(super) content_type: String,
}

/// One message, either way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) sid: String,
    pub(super) direction: Direction,
    pub(super) from: Option<String>,
    pub(super) to: String,
    pub(super) body: String,
    pub(super) media: Vec<Media>,
    pub(super) messaging_service_sid: Option<String>,
    pub(super) status: Status,
    pub(super) error_code: Option<u32>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) sent: Option<Timestamp>,
    pub(super) send_at: Option<Timestamp>,
    pub(super) validity_seconds: u32,
    pub(super) status_callback: Option<String>,
    pub(super) plan: Plan,
}

impl Message {
    /// The address of this message in the API.
    pub(super) fn uri(&self, account_sid: &str) -> String {
        format!("/{API_VERSION}/Accounts/{account_sid}/Messages/{}.json", self.sid)
    }

    /// The resource as Twilio renders it.
    pub(super) fn resource(&self, account_sid: &str) -> Value {
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
            "error_message": self.error_code.map(error::text),
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

    /// 0 while a Messaging Service has not chosen a sender.
    fn num_segments(&self) -> u32 {
        if self.from.is_none() { 0 } else { super::segments::count(&self.body) }
    }

    /// The form of a status callback. <https://www.twilio.com/docs/messaging/guides/track-outbound-message-status>
    pub(super) fn status_form(&self, account_sid: &str) -> Vec<(String, String)> {
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
            form.push(("ErrorMessage", error::text(code).to_owned()));
        }
        form.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// One text as a handset got it. The ledger is a list of these.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Received {
    pub(super) message_sid: String,
    pub(super) handset: String,
    pub(super) from: String,
    pub(super) body: String,
    pub(super) media_urls: Vec<String>,
    /// What it is to the handset: a `message` that was created, a `reply` by TwiML, or Twilio's own `notice`.
    pub(super) kind: ReceivedKind,
    pub(super) at: Timestamp,
}

/// Where a received text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReceivedKind {
    Message,
    Reply,
    Notice,
}
