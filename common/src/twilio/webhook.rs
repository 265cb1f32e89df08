//! The content of Twilio's webhooks, read from a [`Form`].
//!
//! Parameters: <https://www.twilio.com/docs/messaging/guides/webhook-request> and
//! <https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks>.

use super::form::Form;
use super::message::Message;
use crate::domain::ids::MessageId;
use crate::domain::sids::{AccountSid, MessageSid};
use crate::telemetry::traces::{TRACEPARENT, TraceContext};
use uuid::Uuid;

/// The query parameter of our status callback URL that contains our message id.
pub const MESSAGE_ID_PARAMETER: &str = "message_id";

/// The path of the webhook for incoming messages, relative to the public base URL.
pub const INCOMING_PATH: &str = "/webhook/twilio/sms";

/// The path of the status callback webhook, relative to the public base URL.
pub const STATUS_CALLBACK_PATH: &str = "/webhook/twilio/status";

/// The paths of both webhooks. `PUBLIC_WEBHOOK_BASE_URL` must not contain them.
pub const WEBHOOK_PATHS: [&str; 2] = [INCOMING_PATH, STATUS_CALLBACK_PATH];

/// The maximum length of an accepted `MessageSid`, in bytes. Twilio's SIDs have 34; Postgres cannot index values of
/// some thousand bytes.
pub const MAX_MESSAGE_SID: usize = 255;

/// The maximum number of media files of a message at Twilio, used as a limit for `NumMedia`.
const MAX_MEDIA: u32 = 10;

/// Returns the `MessageSid` of a webhook, or `None` if it is missing or blank.
///
/// Twilio's older names for it, `SmsSid` and `SmsMessageSid`, are not accepted alone.
#[must_use]
pub fn message_sid(form: &Form) -> Option<&str> {
    let is_blank = |c: char| c.is_whitespace() || c == '\0';
    form.get("MessageSid").map(|sid| sid.trim_matches(is_blank)).filter(|sid| !sid.is_empty())
}

/// The kind of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookKind {
    /// A message to one of our numbers.
    Incoming,
    /// A status callback for a message that we sent.
    Status,
}

impl WebhookKind {
    /// Returns the kind according to the parameters, or `None` if both kinds are possible.
    ///
    /// A status callback has `MessageStatus`, or its older name `SmsStatus`. An incoming message has `SmsStatus` with
    /// the value `received`.
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

    /// Returns the kind according to the path of the URL. Ignores a path prefix and trailing slashes.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        [Self::Incoming, Self::Status].into_iter().find(|kind| path.ends_with(kind.path()))
    }

    /// Returns the number of the handset, as given.
    #[must_use]
    pub fn handset(self, form: &Form) -> Option<&str> {
        form.non_empty(match self {
            Self::Incoming => "From",
            Self::Status => "To",
        })
    }

    /// Returns the path of the webhook, relative to the public base URL.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Incoming => INCOMING_PATH,
            Self::Status => STATUS_CALLBACK_PATH,
        }
    }
}

/// A webhook without `MessageSid`. It cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("MessageSid is missing")]
pub struct MessageSidMissing;

/// One media file of an inbound message. Downloading it requires our credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The URL of the file at Twilio.
    pub url: String,
    /// The MIME type according to Twilio.
    pub content_type: Option<String>,
}

/// An inbound message. Texts are verbatim, but without NUL characters, which Postgres cannot store.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundSms {
    /// `SM…` or, with media, `MM…`.
    pub message_sid: MessageSid,
    /// The account that received it, `AC…`.
    pub account_sid: Option<AccountSid>,
    /// The sender: a phone number, a short code or an alphanumeric sender ID. Empty if missing.
    pub from: String,
    /// Our number. Empty if missing.
    pub to: String,
    /// The text, which may be empty.
    pub body: String,
    /// `NumMedia`, which can be greater than the length of `media`.
    pub num_media: u32,
    /// The listed media files.
    pub media: Vec<Media>,
    /// The number of segments.
    pub num_segments: Option<u32>,
    /// The messaging service of our number, if any.
    pub messaging_service_sid: Option<String>,
    /// The keyword type recognized by Twilio's Advanced Opt-Out, which has replied to the message.
    pub opt_out_type: Option<OptOutType>,
    /// In a request to the fallback URL: the error of the first request.
    pub error_code: Option<u32>,
}

/// The keyword types of Twilio's Advanced Opt-Out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptOutType {
    /// The sender unsubscribed.
    Stop,
    /// The sender subscribed again.
    Start,
    /// The sender requested help.
    Help,
}

impl InboundSms {
    /// Reads an inbound message from a webhook.
    ///
    /// # Errors
    ///
    /// [`MessageSidMissing`] if the form has no `MessageSid`.
    pub fn read(form: &Form) -> Result<Self, MessageSidMissing> {
        let text = |key| form.non_empty(key).map(without_nul);
        Ok(Self {
            message_sid: read_message_sid(form)?,
            account_sid: text("AccountSid").and_then(|sid| sid.try_into().ok()),
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
    /// Reads an inbound message from Twilio's list of messages, in case its webhook was lost. The list does not include
    /// media.
    #[must_use]
    pub fn from_list(message: &Message, media: Vec<Media>) -> Self {
        let text = |key: &str| {
            let text = message.json.get(key).and_then(serde_json::Value::as_str);
            text.filter(|text| !text.is_empty()).map(without_nul)
        };
        Self {
            message_sid: message.sid.clone(),
            account_sid: text("account_sid").and_then(|sid| sid.try_into().ok()),
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

/// Shows only the SID, because the rest is personal data.
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

/// A status callback.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusCallback {
    /// The SID of the message.
    pub message_sid: MessageSid,
    /// The status, verbatim, because it can be one that we do not know. Empty if missing.
    pub message_status: String,
    /// The error code, with `failed` and `undelivered`.
    pub error_code: Option<u32>,
    /// Our message id from the callback URL. It identifies the message even if the callback arrives before the response
    /// to the create request.
    pub message_id: Option<MessageId>,
    /// The sending account, `AC…`.
    pub account_sid: Option<AccountSid>,
    /// The sender.
    pub from: Option<String>,
    /// The recipient.
    pub to: Option<String>,
    /// The messaging service, if the message was sent with one.
    pub messaging_service_sid: Option<String>,
    /// The date of the carrier's delivery receipt, as `YYMMDDhhmm`.
    pub raw_dlr_done_date: Option<String>,
}

impl StatusCallback {
    /// Reads a status callback from its body and the query of its URL; with GET both are the same form.
    ///
    /// Ignores a message id that is not a UUID, because it is not ours.
    ///
    /// # Errors
    ///
    /// [`MessageSidMissing`] if `form` has no `MessageSid`.
    pub fn read(form: &Form, query: &Form) -> Result<Self, MessageSidMissing> {
        let text = |key| form.non_empty(key).map(without_nul);
        let ours = query.get(MESSAGE_ID_PARAMETER).or_else(|| form.get(MESSAGE_ID_PARAMETER));
        Ok(Self {
            message_sid: read_message_sid(form)?,
            message_status: text("MessageStatus").or_else(|| text("SmsStatus")).unwrap_or_default(),
            error_code: form.number("ErrorCode").filter(|&code| code != 0),
            message_id: ours.and_then(|id| Uuid::try_parse(id.trim()).ok().map(MessageId::from)),
            account_sid: text("AccountSid").and_then(|sid| sid.try_into().ok()),
            from: text("From"),
            to: text("To"),
            messaging_service_sid: text("MessagingServiceSid"),
            raw_dlr_done_date: text("RawDlrDoneDate"),
        })
    }
}

/// Shows only ids and the status.
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

/// Connection overrides of status callbacks: Twilio retries five times after any error, within 15 seconds. By default
/// it retries once, and only if it cannot connect
/// (<https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>).
const CONNECTION_OVERRIDES: &str = "#rc=5&rp=all";

/// Returns the status callback URL of a message, with our message id.
///
/// If the send is traced, the URL also has its `traceparent`, so that the callback continues the trace. Twilio signs
/// the whole URL, except the fragment. The `tracestate` is left out, because its content is not ours.
#[must_use]
pub fn status_callback_url(
    public_base_url: &str,
    message_id: MessageId,
    trace: Option<&TraceContext>,
) -> String {
    let base = public_base_url.trim_end_matches('/');
    let url = format!("{base}{STATUS_CALLBACK_PATH}?{MESSAGE_ID_PARAMETER}={message_id}");
    match trace.filter(|trace| trace.is_sampled()) {
        Some(trace) => format!("{url}&{TRACEPARENT}={}{CONNECTION_OVERRIDES}", trace.traceparent()),
        None => url + CONNECTION_OVERRIDES,
    }
}

/// Returns the trace of the send from the query of a [`status_callback_url`].
#[must_use]
pub fn callback_trace(query: &Form) -> Option<TraceContext> {
    TraceContext::parse(query.get(TRACEPARENT)?, None)
}

fn read_message_sid(form: &Form) -> Result<MessageSid, MessageSidMissing> {
    let sid = message_sid(form).map(without_nul);
    sid.and_then(|sid| sid.try_into().ok()).ok_or(MessageSidMissing)
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
    fn parameters_decide_between_incoming_message_and_status_callback() {
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
    fn the_kind_is_read_from_the_path_after_any_prefix() {
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
    fn a_form_without_a_message_sid_is_rejected() {
        for encoded in ["", "Body=x", "MessageSid=", "MessageSid=+", "MessageSid=%00", "SmsSid=SM1"] {
            assert_eq!(InboundSms::read(&form(encoded)), Err(MessageSidMissing), "{encoded}");
            assert_eq!(
                StatusCallback::read(&form(encoded), &Form::default()),
                Err(MessageSidMissing),
                "{encoded}"
            );
        }
    }

    /// The query of a URL, as Twilio sends it: without the fragment.
    fn query_of(url: &str) -> &str {
        url.split_once('#').unwrap().0.split_once('?').unwrap().1
    }

    #[test]
    fn a_status_callback_has_our_message_id_in_its_url() {
        let id = MessageId::from(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001));
        let url = status_callback_url("https://sms.example.com/", id, None);
        assert_eq!(
            url,
            "https://sms.example.com/webhook/twilio/status?message_id=01990000-0000-7000-8000-000000000001#rc=5&rp=all"
        );
        let query = form(query_of(&url));
        let body = form("MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30003&To=%2B12035550100");
        let read = StatusCallback::read(&body, &query).unwrap();
        assert_eq!((read.message_id, read.error_code), (Some(id), Some(30003)));
        assert_eq!(read.message_status, "undelivered");
    }

    #[test]
    fn a_status_callback_of_a_recorded_trace_has_its_traceparent_in_its_url() {
        let base = "https://sms.example.com";
        let recorded = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::parse(recorded, Some("vendor=value")).unwrap();
        let url = status_callback_url(base, Uuid::nil().into(), Some(&trace));
        let query = query_of(&url);
        assert_eq!(query, format!("message_id={}&traceparent={recorded}", Uuid::nil()));
        assert_eq!(callback_trace(&form(query)).unwrap().traceparent(), recorded);
        assert_eq!(callback_trace(&form("message_id=1&traceparent=x")), None);
        let not_recorded = TraceContext::parse(&recorded.replace("-01", "-00"), None).unwrap();
        let url = status_callback_url(base, Uuid::nil().into(), Some(&not_recorded));
        assert!(!url.contains("traceparent"), "{url}");
    }

    #[test]
    fn a_message_id_that_is_not_a_uuid_is_ignored() {
        let read =
            StatusCallback::read(&form("MessageSid=SM1&SmsStatus=sent"), &form("message_id=42")).unwrap();
        assert_eq!((read.message_id, read.message_status.as_str()), (None, "sent"));
    }

    #[test]
    fn debug_output_contains_no_phone_number_and_no_text() {
        let read = InboundSms::read(&form("MessageSid=SM1&From=%2B12035550100&Body=secret")).unwrap();
        assert_eq!(format!("{read:?}"), r#"InboundSms { message_sid: "SM1", .. }"#);
    }
}
