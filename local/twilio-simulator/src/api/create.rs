//! `POST …/Messages.json`: validation in Twilio's order.
//!
//! <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>

use jiff::{SignedDuration, Timestamp};
use url::Url;

use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::api::form::{Form, recipient};
use crate::api::smart_encoding;
use crate::clock::now;
use crate::config::SimulatorConfig;
use crate::delivery::engine::Engine;
use crate::error_codes;
use crate::state::message::{Direction, MAX_MEDIA, MAX_VALIDITY_SECONDS, Media, Message};
use crate::state::plan::Plan;
use crate::state::status::Status;

/// The maximum length of a body in characters.
const MAX_BODY: usize = 1_600;
/// The allowed range of `SendAt` from now: five minutes to 35 days.
const SCHEDULE_WINDOW: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(300), SignedDuration::from_secs(35 * 24 * 3_600));

/// Builds the message that a create request describes.
///
/// # Errors
/// The [`ApiError`] of the first invalid parameter, in Twilio's order: recipient, sender, content, others.
pub(crate) fn message(engine: &Engine, caller: Caller, form: &Form, plan: Plan) -> Result<Message, ApiError> {
    let config = &engine.config;
    let to = form.get("To").ok_or_else(|| ApiError::of(21604))?;
    let to =
        recipient(to).ok_or_else(|| ApiError::with(21211, format!("Invalid 'To' Phone Number: {to}")))?;
    let sender = Sender::of(config, caller, form)?;
    let (body, media) = content(engine, form)?;
    let send_at = schedule(form, &sender)?;
    let validity_seconds = validity(form)?;
    let status_callback = form.get("StatusCallback").map(status_callback).transpose()?;
    let scope = sender.from.as_deref().map(|from| config.opt_out_scope(from));
    if sender.service.is_none() && scope.is_some_and(|scope| engine.store().opted_out(&to, scope)) {
        return Err(ApiError::of(21610));
    }
    let created = now();
    Ok(Message {
        sid: engine.fresh_sid(if media.is_empty() { "SM" } else { "MM" }),
        direction: Direction::OutboundApi,
        status: match (&sender.service, send_at) {
            (_, Some(_)) => Status::Scheduled,
            (Some(_), None) => Status::Accepted,
            (None, None) => Status::Queued,
        },
        from: sender.from,
        to,
        body,
        media,
        messaging_service_sid: sender.service,
        error_code: None,
        created,
        updated: created,
        sent: None,
        send_at,
        validity_seconds,
        status_callback,
        plan,
    })
}

struct Sender {
    from: Option<String>,
    service: Option<String>,
}

impl Sender {
    fn of(config: &SimulatorConfig, caller: Caller, form: &Form) -> Result<Self, ApiError> {
        let from = form.get("From");
        // Twilio accepts a messaging service SID in `From` too.
        let service = form.get("MessagingServiceSid").or(from.filter(|from| from.starts_with("MG")));
        let from = from.filter(|from| !from.starts_with("MG")).map(str::to_owned);
        if caller == Caller::Test {
            return magic(from.ok_or_else(|| ApiError::of(21603))?);
        }
        if let Some(sid) = service {
            let service = config.service(sid).ok_or_else(|| ApiError::of(21701))?;
            if config.senders(service).is_empty() {
                return Err(ApiError::of(21704));
            }
        }
        match &from {
            Some(from) if config.number(from).is_some() => {}
            Some(from) if recipient(from).is_none() => {
                return Err(ApiError::with(21212, format!("Invalid 'From' Phone Number: {from}")));
            }
            Some(from) => {
                let text = error_codes::text(21606);
                return Err(ApiError::with(21606, format!("{text}: {from}")));
            }
            None if service.is_none() => return Err(ApiError::of(21603)),
            None => {}
        }
        Ok(Self { from, service: service.map(str::to_owned) })
    }
}

/// Returns the sender for test credentials, which know Twilio's magic numbers only.
/// <https://www.twilio.com/docs/iam/test-credentials#test-sms-messages>
fn magic(from: String) -> Result<Sender, ApiError> {
    match from.as_str() {
        "+15005550006" => Ok(Sender { from: Some(from), service: None }),
        "+15005550001" => Err(ApiError::of(21212)),
        "+15005550008" => Err(ApiError::of(21611)),
        _ => Err(ApiError::of(21606)),
    }
}

fn content(engine: &Engine, form: &Form) -> Result<(String, Vec<Media>), ApiError> {
    let body = form.get("Body").unwrap_or_default().to_owned();
    if body.chars().count() > MAX_BODY {
        return Err(ApiError::of(21617));
    }
    let files: Vec<Media> = form
        .all("MediaUrl")
        .map(|url| match Url::parse(url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => {
                Ok(Media::new(engine.fresh_sid("ME"), url))
            }
            _ => Err(ApiError::with(21620, format!("Invalid media URL(s): {url}"))),
        })
        .collect::<Result<_, _>>()?;
    if files.len() > MAX_MEDIA {
        return Err(ApiError::of(21623));
    }
    if files.is_empty() && body.trim().is_empty() {
        return Err(ApiError::of(21602));
    }
    let body = if engine.smart_encoding() { smart_encoding::apply(&body) } else { body };
    Ok((body, files))
}

fn schedule(form: &Form, sender: &Sender) -> Result<Option<Timestamp>, ApiError> {
    match (form.get("ScheduleType"), form.get("SendAt")) {
        (None, _) => return Ok(None),
        (Some("fixed"), Some(_)) => {}
        (Some("fixed"), None) => return Err(ApiError::of(35111)),
        (Some(other), _) => {
            return Err(ApiError::with(20001, format!("ScheduleType {other} is not supported")));
        }
    }
    if sender.service.is_none() {
        return Err(ApiError::of(35118));
    }
    let send_at: Option<Timestamp> = form.get("SendAt").and_then(|text| text.parse().ok());
    let ahead = send_at.map(|at| at.duration_since(now()));
    if ahead.is_some_and(|ahead| ahead >= SCHEDULE_WINDOW.0 && ahead <= SCHEDULE_WINDOW.1) {
        Ok(send_at)
    } else {
        Err(ApiError::of(35114))
    }
}

fn validity(form: &Form) -> Result<u32, ApiError> {
    let Some(text) = form.get("ValidityPeriod") else { return Ok(MAX_VALIDITY_SECONDS) };
    text.parse().ok().filter(|seconds| (1..=MAX_VALIDITY_SECONDS).contains(seconds)).ok_or_else(|| {
        ApiError::with(20001, format!("ValidityPeriod {text} is not between 1 and {MAX_VALIDITY_SECONDS}"))
    })
}

/// Validates `StatusCallback`. Twilio rejects host names with an underscore.
/// <https://www.twilio.com/docs/api/errors/21609>
fn status_callback(url: &str) -> Result<String, ApiError> {
    let invalid = || ApiError::with(21609, format!("The 'StatusCallback' URL {url} is not a valid URL."));
    let parsed = Url::parse(url).map_err(|_| invalid())?;
    let host = parsed.host_str().filter(|host| !host.contains('_')).ok_or_else(invalid)?;
    if host.is_empty() || !matches!(parsed.scheme(), "http" | "https") {
        return Err(invalid());
    }
    Ok(url.to_owned())
}
