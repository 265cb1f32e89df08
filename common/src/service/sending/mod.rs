//! What `send-sms` and `send-bulk` share: the message of a request, its validation, its sender, and the row to store.

mod judge;
mod limits;
mod quiet;
mod request;
mod senders;

pub use judge::{MAX_BODY, judge};
pub use limits::SendLimits;
pub use quiet::quiet_hours;
pub use request::{SendRequest, idempotency_key, priority, purpose};
pub use senders::{Choice, Senders};

use crate::clock;
use crate::config::Env;
use crate::db::conversations::LastSender;
use crate::db::sends::NewSend;
use crate::domain::phone::{E164, LoadError, NumberingPlan, Recipient, Region, last_four};
use crate::domain::segments;
use crate::domain::sids::AccountSid;
use crate::domain::smart_encoding::SmartEncoding;
use crate::http::{HttpRequestExt, Principal, Request};
use crate::service::conversation;
use crate::telemetry::traces;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

/// Why a message to a deactivated number is refused: the text of an [`ApiError::Conflict`](crate::http::ApiError).
pub const NUMBER_DEACTIVATED: &str = "number_deactivated: the carrier has deactivated the number; it gets messages \
     again after it has written to us or was opted in";

/// Configuration, read from the environment: `TWILIO_ACCOUNT_SID`; `TWILIO_PHONE_NUMBER` (a list) and/or
/// `TWILIO_MESSAGING_SERVICE_SID`; `DEFAULT_REGION` (US), the region of numbers without a country code;
/// `RECIPIENT_COUNTRIES` (the default region), to whose numbers messages may be sent; `SMART_ENCODING` (none), the
/// default for requests; and the variables of [`SendLimits`].
#[derive(Debug, Clone)]
pub struct SendingConfig {
    account_sid: AccountSid,
    senders: Senders,
    region: Region,
    recipient_countries: Vec<Region>,
    smart_encoding: SmartEncoding,
    limits: SendLimits,
}

impl SendingConfig {
    /// Reads the configuration.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.parse("TWILIO_ACCOUNT_SID");
        let senders = senders(env);
        let region = conversation::region(env);
        let recipient_countries = recipient_countries(env, region);
        let smart_encoding = env.parse_or("SMART_ENCODING", SmartEncoding::None);
        let limits = SendLimits::from_env(env);
        Some(Self {
            account_sid: account_sid?,
            senders: senders?,
            region: region?,
            recipient_countries: recipient_countries?,
            smart_encoding: smart_encoding?,
            limits: limits?,
        })
    }
}

fn recipient_countries(env: &mut Env<'_>, region: Option<Region>) -> Option<Vec<Region>> {
    let codes = env.optional_list("RECIPIENT_COUNTRIES")?;
    if codes.is_empty() {
        return Some(vec![region?]);
    }
    let countries: Result<Vec<Region>, _> = codes.iter().map(|code| code.parse()).collect();
    if countries.is_err() {
        env.problem(
            "RECIPIENT_COUNTRIES has an entry that is not an ISO 3166-1 code of two letters, such as US",
        );
    }
    countries.ok()
}

fn senders(env: &mut Env<'_>) -> Option<Senders> {
    let numbers = env.optional_list("TWILIO_PHONE_NUMBER")?;
    let messaging_service_sid = env.optional_text("TWILIO_MESSAGING_SERVICE_SID")?;
    if numbers.iter().any(|number| !is_sender(number)) {
        env.problem("TWILIO_PHONE_NUMBER has an entry that is neither an E.164 number nor a short code");
    }
    if messaging_service_sid.as_ref().is_some_and(|sid| !sid.starts_with("MG")) {
        env.problem("TWILIO_MESSAGING_SERVICE_SID does not begin with MG");
    }
    if numbers.is_empty() && messaging_service_sid.is_none() {
        env.problem("TWILIO_PHONE_NUMBER and TWILIO_MESSAGING_SERVICE_SID are both missing: one is needed");
    }
    Some(Senders { numbers, messaging_service_sid })
}

fn is_sender(number: &str) -> bool {
    let is_short_code = (3..=8).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    is_short_code || number.parse::<E164>().is_ok()
}

/// The rules for outbound messages, built at cold start.
#[derive(Debug)]
pub struct Sending {
    config: SendingConfig,
    plan: NumberingPlan,
}

/// The request that a message comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The API key.
    pub api_key_id: Uuid,
    /// The id of the request.
    pub request_id: String,
    /// The trace that its sends continue.
    pub trace_context: Option<String>,
    /// When it was received.
    pub at: Timestamp,
}

impl Origin {
    /// Returns the origin of the messages of a request.
    #[must_use]
    pub fn new(principal: &Principal, request: &Request, at: Timestamp) -> Self {
        let request_id = request.request_id().to_owned();
        let trace_context = traces::to_store(&request_id);
        Self { api_key_id: principal.key_id, request_id, trace_context, at }
    }
}

impl Sending {
    /// Loads the numbering plan.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when the default region has no plan.
    pub fn load(config: SendingConfig) -> Result<Self, LoadError> {
        let plan = NumberingPlan::load(config.region)?;
        Ok(Self { config, plan })
    }

    /// Returns the Twilio account.
    #[must_use]
    pub fn account_sid(&self) -> &AccountSid {
        &self.config.account_sid
    }

    /// Returns the numbering plan.
    #[must_use]
    pub fn plan(&self) -> &NumberingPlan {
        &self.plan
    }

    /// Returns why messages may not be sent to the country of a number, if they may not.
    #[must_use]
    pub fn country_refusal(&self, number: &E164) -> Option<String> {
        let country = self.plan.country(number);
        if country.is_some_and(|country| self.config.recipient_countries.contains(&country)) {
            return None;
        }
        let country = country.map_or_else(|| "no country".to_owned(), |country| country.to_string());
        Some(format!("can't be sent to: {country} is not in RECIPIENT_COUNTRIES"))
    }

    /// Returns the sender that a request names, if it is configured.
    #[must_use]
    pub fn named_sender(&self, from: &str) -> Option<Choice> {
        self.config.senders.named(from, &self.plan)
    }

    /// Returns the sender of a message whose request names none. Logs if it replaces the last one.
    #[must_use]
    pub fn default_sender(&self, last: Option<&LastSender>) -> Option<Choice> {
        let choice = self.config.senders.default(last);
        if let Some(Choice { sender, replaced: Some(replaced) }) = &choice {
            let [sender, replaced] = [sender, replaced].map(|sender| last_four(sender.as_str()));
            tracing::warn!(
                sender,
                replaced,
                "sender of the conversation is not configured, using the default"
            );
        }
        choice
    }

    /// Returns the row of a valid message.
    #[must_use]
    pub fn new_send(
        &self,
        wanted: SendRequest,
        choice: Choice,
        recipient: Recipient,
        origin: &Origin,
    ) -> NewSend {
        let smart_encoding = wanted.smart_encoding.unwrap_or(self.config.smart_encoding);
        let written = wanted.body.unwrap_or_default();
        // A replacement can be longer, such as three dots for an ellipsis. Composing never makes a text longer.
        let body = match smart_encoding.apply(&written) {
            body if body.chars().count() > MAX_BODY => SmartEncoding::None.apply(&written),
            body => body,
        };
        let body = body.into_owned();
        let cost = segments::count(&body);
        let (to, to_original) = recipient.into_parts();
        let media = wanted.media_urls.unwrap_or_default().into_iter();
        NewSend {
            id: clock::new_id().into(),
            conversation_id: clock::new_id().into(),
            account_sid: self.config.account_sid.clone(),
            to,
            to_original,
            sender: choice.sender,
            replaced_from: choice.replaced,
            message_content: body,
            media: media.map(|url| json!({"url": url, "content_type": null})).collect(),
            encoding: cost.encoding,
            // 1600 characters have at most a few dozen segments.
            segments: i32::try_from(cost.segments).unwrap_or(i32::MAX),
            priority: wanted.priority.unwrap_or_default(),
            purpose: wanted.purpose.unwrap_or_default(),
            workflow_type: wanted.workflow_type,
            workflow_id: wanted.workflow_id,
            metadata: wanted.metadata,
            send_at: wanted.send_at,
            send_before: wanted.send_before,
            api_key_id: origin.api_key_id,
            request_id: origin.request_id.clone(),
            trace_context: origin.trace_context.clone(),
            created_at: origin.at,
        }
    }
}

/// Returns how long a message waits until it is due.
#[must_use]
pub fn wait(send_at: Option<Timestamp>, now: Timestamp) -> Duration {
    send_at.map_or(Duration::ZERO, |at| Duration::try_from(at.duration_since(now)).unwrap_or_default())
}
