//! The commands of an operator.

use common::db::sends::{Decision, MessageFilter};
use common::domain::ids::MessageId;
use common::domain::message::Status;
use common::domain::sids::MessageSid;
use common::http::{Fields, ValidationError};
use serde_json::Value;

/// The maximum number of messages of one command.
const MAX_MESSAGES: u64 = 1_000;
/// The default `limit`.
const DEFAULT_LIMIT: u64 = 100;

/// A command of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Set the outcome of a message with status `unknown`.
    Decide {
        /// The id of the message.
        message_id: MessageId,
        /// The outcome.
        decision: Decision,
    },
    /// Retry failed messages by id.
    RetryIds(Vec<MessageId>),
    /// Retry failed messages by error code and creation time.
    RetryMatching(MessageFilter),
    /// List messages.
    List(MessageFilter),
}

impl Command {
    /// Parses a payload.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with all invalid fields.
    pub fn from_payload(payload: Value) -> Result<Self, ValidationError> {
        let mut fields = Fields::from_value(payload)?;
        let action = fields.text("action");
        let command = match action.as_deref() {
            Some("decide") => decide(&mut fields),
            Some("retry") => retry(&mut fields),
            Some("list") => list(&mut fields),
            _ => return Err(ValidationError::field("action", "must be decide, retry or list")),
        };
        fields.finish_with(command)
    }
}

fn decide(fields: &mut Fields) -> Option<Command> {
    let message_id = fields.id("message_id").map(MessageId::from);
    if message_id.is_none() {
        fields.missing("message_id");
    }
    let was = fields.text("was");
    let twilio_sid = fields.text("twilio_sid").and_then(|sid| message_sid(fields, &sid));
    let decision = match was.as_deref() {
        Some("sent") => Some(Decision::Sent { twilio_sid }),
        Some("not_sent") => {
            if twilio_sid.is_some() {
                fields.problem("twilio_sid", "is only allowed if was is sent");
            }
            Some(Decision::NotSent)
        }
        _ => {
            fields.problem("was", "must be sent or not_sent");
            None
        }
    };
    Some(Command::Decide { message_id: message_id?, decision: decision? })
}

fn message_sid(fields: &mut Fields, text: &str) -> Option<MessageSid> {
    let digits = text.strip_prefix("SM").or_else(|| text.strip_prefix("MM"));
    let is_well_formed =
        |digits: &str| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let sid = digits.filter(|digits| is_well_formed(digits)).and_then(|_| text.parse().ok());
    if sid.is_none() {
        fields.problem("twilio_sid", "must be SM or MM followed by 32 hexadecimal digits");
    }
    sid
}

fn retry(fields: &mut Fields) -> Option<Command> {
    let ids = fields.texts("message_ids");
    let error_code = fields.text("error_code");
    match (ids, error_code) {
        (Some(_), Some(_)) => {
            fields.problem("error_code", "cannot be combined with message_ids");
            None
        }
        (Some(ids), None) => parse_ids(fields, &ids).map(Command::RetryIds),
        (None, Some(code)) => {
            let filter = filter(fields, None, Some(code))?;
            if filter.since.is_none() {
                fields.missing("since");
            }
            Some(Command::RetryMatching(filter))
        }
        (None, None) => {
            fields.missing("message_ids");
            None
        }
    }
}

fn parse_ids(fields: &mut Fields, texts: &[String]) -> Option<Vec<MessageId>> {
    if texts.is_empty() || texts.len() as u64 > MAX_MESSAGES {
        fields.problem("message_ids", format!("must contain between 1 and {MAX_MESSAGES} ids"));
        return None;
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (position, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(id) => ids.push(id),
            Err(_) => fields.problem(format!("message_ids[{position}]"), "is not a UUID"),
        }
    }
    Some(ids)
}

fn list(fields: &mut Fields) -> Option<Command> {
    let status = match fields.required_text("status").as_deref() {
        Some("unknown") => Some(Status::Unknown),
        Some("failed") => Some(Status::Failed),
        Some("undelivered") => Some(Status::Undelivered),
        Some(_) => {
            fields.problem("status", "must be unknown, failed or undelivered");
            None
        }
        None => None,
    };
    let error_code = fields.text("error_code");
    filter(fields, status, error_code).map(Command::List)
}

fn filter(fields: &mut Fields, status: Option<Status>, error_code: Option<String>) -> Option<MessageFilter> {
    let since = fields.instant("since");
    let until = fields.instant("until");
    if since.zip(until).is_some_and(|(since, until)| until <= since) {
        fields.problem("until", "must be after since");
    }
    let limit = match fields.take("limit") {
        None => DEFAULT_LIMIT,
        Some(value) => match value.as_u64().filter(|limit| (1..=MAX_MESSAGES).contains(limit)) {
            Some(limit) => limit,
            None => {
                fields.problem("limit", format!("must be an integer between 1 and {MAX_MESSAGES}"));
                return None;
            }
        },
    };
    Some(MessageFilter { status, error_code, since, until, limit: i64::try_from(limit).ok()? })
}
