//! `POST …/Messages.json`: what is asked for, checked as Twilio checks it.
//!
//! <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>

use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::auth::Caller;
use super::clock::now;
use super::config::SimulatorConfig;
use super::error::ApiError;
use super::exchange::Exchange;
use super::faults::Plan;
use super::message::{Direction, Media, Message, Status};

/// The longest body, in characters.
const MAX_BODY: usize = 1_600;
/// The most files of a message.
const MAX_MEDIA: usize = 10;
/// The longest, and default, validity period: ten hours.
pub(super) const MAX_VALIDITY_SECONDS: u32 = 36_000;
/// How far ahead a message can be scheduled: five minutes to 35 days.
const SCHEDULE_WINDOW: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(300), SignedDuration::from_secs(35 * 24 * 3_600));

/// A decoded form, in its order.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The value of `key`; empty counts as absent, as at Twilio.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.present(key).filter(|value| !value.is_empty())
    }

    /// The value of `key`, which may be empty.
    pub(super) fn present(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(name, value)| name == key && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

/// A recipient in E.164, from the spellings that Twilio takes; None when it is no phone number.
pub(super) fn recipient(to: &str) -> Option<String> {
    let plain: String = to.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.')).collect();
    let digits = plain.strip_prefix('+').unwrap_or(&plain);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let full = match (plain.starts_with('+'), digits.len()) {
        (false, 10) => format!("1{digits}"),
        (true, _) | (false, 11) => digits.to_owned(),
        _ => return None,
    };
    let plausible = match full.strip_prefix('1') {
        Some(national) => national.len() == 10 && !national.starts_with(['0', '1']),
        None => (8..=15).contains(&full.len()) && !full.starts_with('0'),
    };
    plausible.then(|| format!("+{full}"))
}

/// The message that `form` asks for, or Twilio's refusal.
///
/// # Errors
/// The [`ApiError`] of the first thing that is wrong, in Twilio's order: recipient, sender, content, the rest.
pub(super) fn message(
    exchange: &Exchange,
    caller: Caller,
    form: &Form,
    plan: Plan,
) -> Result<Message, ApiError> {
    let config = &exchange.config;
    let to = form.get("To").ok_or_else(|| ApiError::of(21604))?;
    let to =
        recipient(to).ok_or_else(|| ApiError::with(21211, format!("Invalid 'To' Phone Number: {to}")))?;
    let sender = Sender::of(config, caller, form)?;
    let (body, media) = content(exchange, form)?;
    let send_at = schedule(form, &sender)?;
    let validity_seconds = validity(form)?;
    let status_callback = form.get("StatusCallback").map(status_callback).transpose()?;
    let scope = sender.from.as_deref().map(|from| scope(config, from));
    if sender.service.is_none() && scope.is_some_and(|scope| exchange.store().opted_out(&to, scope)) {
        return Err(ApiError::of(21610));
    }
    let created = now();
    Ok(Message {
        sid: exchange.fresh_sid(if media.is_empty() { "SM" } else { "MM" }),
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

/// What a STOP covers: the Messaging Service of a number, else the number.
pub(super) fn scope<'a>(config: &'a SimulatorConfig, number: &'a str) -> &'a str {
    config.service_of(number).map_or(number, |service| &service.sid)
}

struct Sender {
    from: Option<String>,
    service: Option<String>,
}

impl Sender {
    fn of(config: &SimulatorConfig, caller: Caller, form: &Form) -> Result<Self, ApiError> {
        let from = form.get("From");
        // A Messaging Service may stand in either parameter.
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
                let text = super::error::text(21606);
                return Err(ApiError::with(21606, format!("{text}: {from}")));
            }
            None if service.is_none() => return Err(ApiError::of(21603)),
            None => {}
        }
        Ok(Self { from, service: service.map(str::to_owned) })
    }
}

/// The senders of the test credentials.
/// <https://www.twilio.com/docs/iam/test-credentials#test-sms-messages>
fn magic(from: String) -> Result<Sender, ApiError> {
    match from.as_str() {
        "+15005550006" => Ok(Sender { from: Some(from), service: None }),
        "+15005550001" => Err(ApiError::of(21212)),
        "+15005550008" => Err(ApiError::of(21611)),
        _ => Err(ApiError::of(21606)),
    }
}

fn content(exchange: &Exchange, form: &Form) -> Result<(String, Vec<Media>), ApiError> {
    let body = form.get("Body").unwrap_or_default().to_owned();
    if body.chars().count() > MAX_BODY {
        return Err(ApiError::of(21617));
    }
    let files: Vec<Media> = form
        .all("MediaUrl")
        .map(|url| match Url::parse(url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => Ok(media(exchange, url)),
            _ => Err(ApiError::with(21620, format!("Invalid media URL(s): {url}"))),
        })
        .collect::<Result<_, _>>()?;
    if files.len() > MAX_MEDIA {
        return Err(ApiError::of(21623));
    }
    if files.is_empty() && body.trim().is_empty() {
        return Err(ApiError::of(21602));
    }
    let body = if exchange.smart_encoding() { super::smart_encoding::apply(&body) } else { body };
    Ok((body, files))
}

/// The file at `url`, its type guessed from its name: nothing is fetched.
pub(super) fn media(exchange: &Exchange, url: &str) -> Media {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let content_type = match path.rsplit('.').next().unwrap_or_default() {
        "png" => "image/png",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        "vcf" => "text/vcard",
        _ => "image/jpeg",
    };
    Media { sid: exchange.fresh_sid("ME"), url: url.to_owned(), content_type: content_type.to_owned() }
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

/// Twilio refuses host names with an underscore. <https://www.twilio.com/docs/api/errors/21609>
fn status_callback(url: &str) -> Result<String, ApiError> {
    let refused = || ApiError::with(21609, format!("The 'StatusCallback' URL {url} is not a valid URL."));
    let parsed = Url::parse(url).map_err(|_| refused())?;
    let host = parsed.host_str().filter(|host| !host.contains('_')).ok_or_else(refused)?;
    if host.is_empty() || !matches!(parsed.scheme(), "http" | "https") {
        return Err(refused());
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_read_in_the_spellings_that_twilio_takes() {
        let table = [
            ("+12035551234", Some("+12035551234")),
            ("(203) 555-1234", Some("+12035551234")),
            ("1 203.555.1234", Some("+12035551234")),
            ("+5511987654321", Some("+5511987654321")),
            ("+1203555123", None),
            ("+11035551234", None),
            ("12345", None),
            ("+123", None),
            ("LANDLORD", None),
            ("+", None),
        ];
        for (input, expected) in table {
            assert_eq!(recipient(input).as_deref(), expected, "{input}");
        }
    }

    #[test]
    fn a_form_is_decoded_with_plus_percent_and_repeats() {
        let form = Form::parse("To=%2B1203&Body=a+b%20%C3%A9&MediaUrl=x&MediaUrl=y&From=".as_bytes());
        assert_eq!(form.get("To"), Some("+1203"));
        assert_eq!(form.get("Body"), Some("a b é"));
        assert_eq!((form.get("From"), form.present("From")), (None, Some("")));
        assert_eq!(form.all("MediaUrl").collect::<Vec<_>>(), ["x", "y"]);
    }
}
