//! What this service reads of Twilio's webhooks: views over a [`Form`] that stays whole.
//!
//! Parameter names as in <https://www.twilio.com/docs/messaging/guides/webhook-request> and
//! <https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks>.

use super::form::Form;
use super::message::Message;
use uuid::Uuid;

/// The query parameter by which our own status callback URL carries our message's id.
pub const MESSAGE_ID_PARAMETER: &str = "message_id";

/// The path of the URL for incoming messages below the public base URL.
pub const INCOMING_PATH: &str = "/webhook/twilio/sms";

/// The path of the status callback URL below the public base URL.
pub const STATUS_CALLBACK_PATH: &str = "/webhook/twilio/status";

/// The paths of both webhooks, which `PUBLIC_WEBHOOK_BASE_URL` must not contain.
pub const WEBHOOK_PATHS: [&str; 2] = [INCOMING_PATH, STATUS_CALLBACK_PATH];

/// The longest `MessageSid` that is taken, in bytes. Twilio's have 34; Postgres keeps no index entry of some thousands.
pub const MAX_MESSAGE_SID: usize = 255;

/// No message carries more files than this, whatever `NumMedia` says.
const MAX_MEDIA: u32 = 10;

/// The SID by which Twilio knows the message of a webhook, or `None` when it names no message.
///
/// `SmsSid` and `SmsMessageSid` are older names for the same value, but a webhook without `MessageSid` is refused.
#[must_use]
pub fn message_sid(form: &Form) -> Option<&str> {
    let is_blank = |c: char| c.is_whitespace() || c == '\0';
    form.get("MessageSid").map(|sid| sid.trim_matches(is_blank)).filter(|sid| !sid.is_empty())
}

/// What a webhook is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookKind {
    /// A message that one of our numbers received.
    Incoming,
    /// What became of a message that was sent.
    Status,
}

impl WebhookKind {
    /// Tells the kind from the parameters, or returns `None` when they fit both.
    ///
    /// A status callback has `MessageStatus` and no text. `SmsStatus` is its older name; an incoming message has it too,
    /// as `received`.
    #[must_use]
    pub fn of(form: &Form) -> Option<Self> {
        match form.non_empty("MessageStatus").or_else(|| form.non_empty("SmsStatus")) {
            Some("received" | "receiving") => Some(Self::Incoming),
            Some(_) => Some(Self::Status),
            None => ["Body", "NumMedia", "NumSegments", "OptOutType", "MediaUrl0"]
                .iter()
                .any(|key| form.get(key).is_some())
                .then_some(Self::Incoming),
        }
    }

    /// Tells the kind from the path that Twilio was given. A prefix before it and a slash behind it do not matter.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        [Self::Incoming, Self::Status].into_iter().find(|kind| path.ends_with(kind.path()))
    }

    /// Returns the path of its URL below the public base URL.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Incoming => INCOMING_PATH,
            Self::Status => STATUS_CALLBACK_PATH,
        }
    }
}

/// A webhook without `MessageSid`: there is nothing to store it under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("MessageSid is missing")]
pub struct MessageSidMissing;

/// One media file of an inbound message. Reading it needs our credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Where Twilio keeps the file.
    pub url: String,
    /// The MIME type as Twilio names it, when it does.
    pub content_type: Option<String>,
}

/// An inbound message. Texts are verbatim, except that NULs, which Postgres refuses, are removed.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundSms {
    /// `SM…` or, with media, `MM…`.
    pub message_sid: String,
    /// The account that received it, `AC…`.
    pub account_sid: Option<String>,
    /// The sender: a number, a short code or an alphanumeric name. Empty if Twilio left it out.
    pub from: String,
    /// Our number. Empty if Twilio left it out.
    pub to: String,
    /// The text, perhaps empty.
    pub body: String,
    /// The number of files that Twilio announced, which may be more than it listed.
    pub num_media: u32,
    /// The files listed.
    pub media: Vec<Media>,
    /// How many segments it came in, when Twilio says so.
    pub num_segments: Option<u32>,
    /// The messaging service our number belongs to, if any.
    pub messaging_service_sid: Option<String>,
    /// What Twilio's Advanced Opt-Out took the message for, and has answered by itself.
    pub opt_out_type: Option<OptOutType>,
    /// On a fallback request: why the first one failed.
    pub error_code: Option<u32>,
}

/// What Twilio's Advanced Opt-Out took a message for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptOutType {
    /// The sender wants no more messages.
    Stop,
    /// The sender wants messages again.
    Start,
    /// The sender asked for help.
    Help,
}

impl InboundSms {
    /// Reads an inbound message.
    ///
    /// # Errors
    ///
    /// When the form has no `MessageSid`.
    pub fn read(form: &Form) -> Result<Self, MessageSidMissing> {
        let text = |key| form.non_empty(key).map(without_nul);
        Ok(Self {
            message_sid: message_sid(form).map(without_nul).ok_or(MessageSidMissing)?,
            account_sid: text("AccountSid"),
            from: text("From").unwrap_or_default(),
            to: text("To").unwrap_or_default(),
            body: text("Body").unwrap_or_default(),
            num_media: form.number("NumMedia").unwrap_or(0),
            media: (0..MAX_MEDIA).filter_map(|place| media(form, place)).collect(),
            num_segments: form.number("NumSegments"),
            messaging_service_sid: text("MessagingServiceSid"),
            opt_out_type: form.get("OptOutType").and_then(OptOutType::parse),
            error_code: form.number("ErrorCode"),
        })
    }
}

impl InboundSms {
    /// Reads an inbound message from Twilio's list, where its webhook never came; its files are listed apart.
    #[must_use]
    pub fn from_list(message: &Message, media: Vec<Media>) -> Self {
        let text = |key: &str| {
            let text = message.json.get(key).and_then(serde_json::Value::as_str);
            text.filter(|text| !text.is_empty()).map(without_nul)
        };
        Self {
            message_sid: without_nul(&message.sid),
            account_sid: text("account_sid"),
            from: text("from").unwrap_or_default(),
            to: text("to").unwrap_or_default(),
            body: text("body").unwrap_or_default(),
            num_media: message.num_media,
            media,
            num_segments: message.num_segments,
            messaging_service_sid: text("messaging_service_sid"),
            opt_out_type: None,
            error_code: message.error_code,
        }
    }
}

/// Shows the SIDs only: the rest is what a tenant wrote and who wrote it.
impl std::fmt::Debug for InboundSms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InboundSms").field("message_sid", &self.message_sid).finish_non_exhaustive()
    }
}

impl OptOutType {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "STOP" => Some(Self::Stop),
            "START" => Some(Self::Start),
            "HELP" => Some(Self::Help),
            _ => None,
        }
    }
}

/// A status callback: what happened to a message that was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusCallback {
    /// The message's SID at Twilio.
    pub message_sid: String,
    /// The status, verbatim: some are not known to us. Empty if Twilio left it out.
    pub message_status: String,
    /// Why it failed, with `failed` and `undelivered`.
    pub error_code: Option<u32>,
    /// Our own id from the callback URL, so that a callback joins its message even before `create` has answered.
    pub message_id: Option<Uuid>,
    /// The sending account, `AC…`.
    pub account_sid: Option<String>,
    /// The number or service that sent.
    pub from: Option<String>,
    /// The recipient.
    pub to: Option<String>,
    /// The messaging service, if one sent it.
    pub messaging_service_sid: Option<String>,
    /// When the carrier says that it was done, as `YYMMDDhhmm`.
    pub raw_dlr_done_date: Option<String>,
}

impl StatusCallback {
    /// Reads a callback from its body and the query of the URL it was sent to.
    ///
    /// On a signed GET both are the same form. An id that is not a UUID is not one of ours and is passed over.
    ///
    /// # Errors
    ///
    /// When neither has a `MessageSid`.
    pub fn read(form: &Form, query: &Form) -> Result<Self, MessageSidMissing> {
        let text = |key| form.non_empty(key).map(without_nul);
        let ours = query.get(MESSAGE_ID_PARAMETER).or_else(|| form.get(MESSAGE_ID_PARAMETER));
        Ok(Self {
            message_sid: message_sid(form).map(without_nul).ok_or(MessageSidMissing)?,
            message_status: text("MessageStatus").or_else(|| text("SmsStatus")).unwrap_or_default(),
            error_code: form.number("ErrorCode").filter(|&code| code != 0),
            message_id: ours.and_then(|id| Uuid::try_parse(id.trim()).ok()),
            account_sid: text("AccountSid"),
            from: text("From"),
            to: text("To"),
            messaging_service_sid: text("MessagingServiceSid"),
            raw_dlr_done_date: text("RawDlrDoneDate"),
        })
    }
}

/// Shows the ids and the status only.
impl std::fmt::Debug for StatusCallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusCallback")
            .field("message_sid", &self.message_sid)
            .field("message_status", &self.message_status)
            .field("error_code", &self.error_code)
            .field("message_id", &self.message_id)
            .finish_non_exhaustive()
    }
}

/// Returns the callback URL that brings our own id back.
#[must_use]
pub fn status_callback_url(public_base_url: &str, message_id: Uuid) -> String {
    let base = public_base_url.trim_end_matches('/');
    format!("{base}{STATUS_CALLBACK_PATH}?{MESSAGE_ID_PARAMETER}={message_id}")
}

fn media(form: &Form, place: u32) -> Option<Media> {
    let url = without_nul(form.non_empty(&format!("MediaUrl{place}"))?);
    let content_type = form.non_empty(&format!("MediaContentType{place}")).map(without_nul);
    Some(Media { url, content_type })
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(encoded: &str) -> Form {
        Form::from_urlencoded(encoded.as_bytes()).unwrap()
    }

    #[test]
    fn an_inbound_message_is_read_with_its_media() {
        let read = InboundSms::read(&form(
            "MessageSid=MM1&AccountSid=AC1&From=%2B12035550100&To=%2B18605550100&Body=hi%00+there&NumMedia=2\
             &NumSegments=1&MediaUrl0=https://a/0&MediaContentType0=image/jpeg&MediaUrl1=https://a/1\
             &OptOutType=STOP&FromCity=",
        ))
        .unwrap();
        assert_eq!((read.message_sid.as_str(), read.from.as_str()), ("MM1", "+12035550100"));
        assert_eq!(read.body, "hi there");
        assert_eq!(read.num_media, 2);
        let second = Media { url: "https://a/1".into(), content_type: None };
        let first = Media { url: "https://a/0".into(), content_type: Some("image/jpeg".into()) };
        assert_eq!(read.media, [first, second]);
        assert_eq!(read.opt_out_type, Some(OptOutType::Stop));
        assert_eq!((read.messaging_service_sid, read.error_code), (None, None));
    }

    #[test]
    fn incoming_messages_and_status_callbacks_are_told_apart() {
        let incoming = Some(WebhookKind::Incoming);
        let status = Some(WebhookKind::Status);
        for (encoded, kind) in [
            ("MessageSid=SM1&SmsStatus=received&Body=STOP&NumMedia=0", incoming),
            ("MessageSid=SM1&SmsStatus=received", incoming),
            ("MessageSid=SM1&MessageStatus=receiving&Body=", incoming),
            ("MessageSid=SM1&Body=", incoming),
            ("MessageSid=MM1&NumMedia=1", incoming),
            ("MessageSid=SM1&OptOutType=STOP", incoming),
            ("MessageSid=SM1&MessageStatus=delivered&SmsStatus=delivered", status),
            ("MessageSid=SM1&SmsStatus=sent", status),
            ("MessageSid=SM1&MessageStatus=teleported", status),
            ("MessageSid=SM1&MessageStatus=", None),
            ("MessageSid=SM1&From=%2B12035550100", None),
        ] {
            assert_eq!(WebhookKind::of(&form(encoded)), kind, "{encoded}");
        }
    }

    #[test]
    fn a_path_tells_the_kind_behind_any_prefix() {
        for (path, kind) in [
            ("/webhook/twilio/sms", Some(WebhookKind::Incoming)),
            ("/prod/webhook/twilio/sms/", Some(WebhookKind::Incoming)),
            ("/webhook/twilio/status", Some(WebhookKind::Status)),
            ("/", None),
            ("/webhook/twilio", None),
            ("/webhook/twilio/sms/other", None),
            ("/webhook/twilio/smsstatus", None),
        ] {
            assert_eq!(WebhookKind::at(path), kind, "{path}");
        }
    }

    #[test]
    fn a_form_without_a_message_sid_is_nobodys() {
        for encoded in ["", "Body=x", "MessageSid=", "MessageSid=+", "MessageSid=%00", "SmsSid=SM1"] {
            assert_eq!(InboundSms::read(&form(encoded)), Err(MessageSidMissing), "{encoded}");
            assert_eq!(
                StatusCallback::read(&form(encoded), &Form::default()),
                Err(MessageSidMissing),
                "{encoded}"
            );
        }
    }

    #[test]
    fn a_status_callback_carries_our_id_in_its_url() {
        let id = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001);
        let url = status_callback_url("https://sms.example.com/", id);
        assert_eq!(
            url,
            "https://sms.example.com/webhook/twilio/status?message_id=01990000-0000-7000-8000-000000000001"
        );
        let query = form(url.split_once('?').unwrap().1);
        let body = form("MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30003&To=%2B12035550100");
        let read = StatusCallback::read(&body, &query).unwrap();
        assert_eq!((read.message_id, read.error_code), (Some(id), Some(30003)));
        assert_eq!(read.message_status, "undelivered");
    }

    #[test]
    fn an_id_that_is_not_ours_is_passed_over_and_the_callback_kept() {
        let read =
            StatusCallback::read(&form("MessageSid=SM1&SmsStatus=sent"), &form("message_id=42")).unwrap();
        assert_eq!((read.message_id, read.message_status.as_str()), (None, "sent"));
    }

    #[test]
    fn debug_shows_no_number_and_no_text() {
        let read = InboundSms::read(&form("MessageSid=SM1&From=%2B12035550100&Body=secret")).unwrap();
        assert_eq!(format!("{read:?}"), r#"InboundSms { message_sid: "SM1", .. }"#);
    }
}
