//! The request body.

use common::domain::ids::{BatchId, TemplateId};
use common::domain::language::Language;
use common::domain::message::{Priority, Purpose};
use common::domain::template::Texts;
use common::http::{Fields, ValidationError};
use common::service::sending::{self, MAX_BODY, SendRequest};
use common::service::templates::{self, NewTexts};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The maximum number of messages per request.
const MAX_ITEMS: usize = 1_000;

/// Messages to send: `messages`, or `recipients` with `template_id` or `texts`. The other fields apply to all messages;
/// a message of `messages` may have its own.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "texts": {"en": "Hi {{name}}, water is off on May 3.", "es": "Hola {{name}}, el 3 de mayo no hay agua."},
    "recipients": [
        {"to": "(202) 555-0123", "variables": {"name": "Ana"}, "language": "es"},
        {"to": "(202) 555-0124", "variables": {"name": "Tom"}}
    ],
    "dry_run": true
}))]
pub struct BulkRequest {
    /// Messages as in `POST /sms/send`.
    #[schema(min_items = 1, max_items = 1000)]
    pub messages: Option<Vec<SendRequest>>,
    /// Recipients of a template or of `texts`.
    #[schema(min_items = 1, max_items = 1000)]
    pub recipients: Option<Vec<BulkRecipient>>,
    /// A template.
    pub template_id: Option<uuid::Uuid>,
    /// Its version. Default: the current one.
    #[schema(minimum = 1)]
    pub template_version: Option<i32>,
    /// One text per language, instead of a template. Variables are written `{{name}}`.
    pub texts: Option<NewTexts>,
    /// The language of recipients for whose languages there is no text. Default: `en` if there is such a text, else the
    /// first one.
    #[schema(pattern = "^(en|es|pt)$")]
    pub fallback: Option<String>,
    /// Returns what would happen and stores nothing.
    pub dry_run: Option<bool>,
    /// A batch that gets the messages, from the response of an earlier request. Default: a new one.
    pub batch_id: Option<uuid::Uuid>,
    /// A configured number or messaging service. Default: for each message the number that the conversation used last,
    /// else the messaging service, else the first number.
    pub from: Option<String>,
    /// Earliest time to send, RFC 3339.
    pub send_at: Option<Timestamp>,
    /// Latest time to send, RFC 3339.
    pub send_before: Option<Timestamp>,
    /// Priority; default `bulk`.
    pub priority: Option<Priority>,
    /// What the messages are for; default `service`.
    pub purpose: Option<Purpose>,
    /// Workflow that requests the messages; stored only.
    #[schema(max_length = 255)]
    pub workflow_type: Option<String>,
    /// Instance of the workflow; stored only.
    #[schema(max_length = 255)]
    pub workflow_id: Option<String>,
}

/// A recipient of a template or of texts.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkRecipient {
    /// Recipient in any common format.
    pub to: String,
    /// The values of the variables: strings, or numbers, which are inserted as they are written.
    #[schema(value_type = Option<Object>)]
    pub variables: BTreeMap<String, String>,
    /// Language: `en`, `es` or `pt`. Default: that of the conversation, else that of the tenant's profile.
    #[schema(value_type = Option<String>, pattern = "^(en|es|pt)$")]
    pub language: Option<Language>,
}

/// An entry of a list, or why it is not valid.
pub(crate) type Entry<T> = Result<T, ValidationError>;

/// A parsed request.
pub(crate) struct Bulk {
    pub(crate) items: Items,
    pub(crate) defaults: Defaults,
    pub(crate) batch_id: Option<BatchId>,
    pub(crate) dry_run: bool,
}

pub(crate) enum Items {
    Messages(Vec<Entry<SendRequest>>),
    Recipients(Source, Vec<Entry<BulkRecipient>>),
}

impl Items {
    /// Returns the field with the messages and their number.
    pub(crate) fn count(&self) -> (&'static str, usize) {
        match self {
            Self::Messages(entries) => ("messages", entries.len()),
            Self::Recipients(_, entries) => ("recipients", entries.len()),
        }
    }
}

/// Where the text of the recipients comes from.
pub(crate) enum Source {
    Texts(Texts),
    Template { id: TemplateId, version: Option<i32> },
}

/// What applies to messages without their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    pub(crate) from: Option<String>,
    send_at: Option<Timestamp>,
    send_before: Option<Timestamp>,
    priority: Option<Priority>,
    purpose: Option<Purpose>,
    workflow_type: Option<String>,
    workflow_id: Option<String>,
}

impl Defaults {
    fn take(fields: &mut Fields, now: Timestamp) -> Self {
        let defaults = Self {
            from: fields.text("from"),
            send_at: fields.instant("send_at"),
            send_before: fields.instant("send_before"),
            priority: sending::priority(fields),
            purpose: sending::purpose(fields),
            workflow_type: fields.text("workflow_type"),
            workflow_id: fields.text("workflow_id"),
        };
        // Reported once, and not for each message.
        for (name, at) in [("send_at", defaults.send_at), ("send_before", defaults.send_before)] {
            if at.is_some_and(|at| at < now) {
                fields.problem(name, "has passed");
            }
        }
        defaults
    }

    /// Completes a message.
    pub(crate) fn apply(&self, message: SendRequest) -> SendRequest {
        SendRequest {
            from: message.from.or_else(|| self.from.clone()),
            send_at: message.send_at.or(self.send_at),
            send_before: message.send_before.or(self.send_before),
            priority: message.priority.or(self.priority).or(Some(Priority::Bulk)),
            purpose: message.purpose.or(self.purpose),
            workflow_type: message.workflow_type.or_else(|| self.workflow_type.clone()),
            workflow_id: message.workflow_id.or_else(|| self.workflow_id.clone()),
            ..message
        }
    }
}

impl Bulk {
    /// Parses the request body. Problems of the request are recorded in the result, those of an entry in the entry.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] when the body is not a JSON object.
    pub(crate) fn parse(
        body: &[u8],
        now: Timestamp,
    ) -> Result<(Option<Self>, ValidationError), ValidationError> {
        let mut fields = Fields::from_slice(body)?;
        let items = items(&mut fields);
        let defaults = Defaults::take(&mut fields, now);
        let batch_id = fields.id("batch_id").map(BatchId::from);
        let dry_run = fields.flag("dry_run").unwrap_or_default();
        let bulk = items.map(|items| Self { items, defaults, batch_id, dry_run });
        Ok((bulk, fields.finish()))
    }
}

fn items(fields: &mut Fields) -> Option<Items> {
    let messages = list(fields, "messages");
    let recipients = list(fields, "recipients");
    let has_source = fields.has("texts") || fields.has("template_id");
    let source = source(fields);
    match (messages, recipients) {
        (Some(_), Some(_)) => {
            fields.problem("recipients", "can't be combined with messages");
            None
        }
        (Some(messages), None) => {
            if has_source {
                fields.problem("messages", "can't be combined with template_id or texts");
            }
            Some(Items::Messages(messages.iter().map(|raw| message(raw)).collect()))
        }
        (None, Some(recipients)) => {
            if !has_source {
                fields.problem("texts", "is missing, and there is no template_id");
            }
            Some(Items::Recipients(source?, recipients.iter().map(|raw| recipient(raw)).collect()))
        }
        (None, None) => {
            if !fields.has_problem("messages") && !fields.has_problem("recipients") {
                fields.problem("messages", "is missing, and there are no recipients");
            }
            None
        }
    }
}

/// Reads a list with an acceptable number of entries.
fn list(fields: &mut Fields, name: &str) -> Option<Vec<Box<RawValue>>> {
    let entries = fields.list(name)?;
    if entries.is_empty() {
        fields.problem(name, "is empty");
        return None;
    }
    if entries.len() > MAX_ITEMS {
        fields.problem(name, format!("has {} entries; {MAX_ITEMS} are allowed", entries.len()));
        return None;
    }
    Some(entries)
}

fn source(fields: &mut Fields) -> Option<Source> {
    let version = fields.number("template_version", 1..=i32::MAX);
    if fields.has("texts") {
        if fields.take("template_id").is_some() {
            fields.problem("template_id", "can't be combined with texts");
        }
        return templates::texts(fields).map(Source::Texts);
    }
    // It is null, as if it were absent.
    let _ = fields.take("texts");
    let id = fields.id("template_id").map(TemplateId::from);
    if id.is_none() && version.is_some() {
        fields.problem("template_version", "needs a template_id");
    }
    if fields.take("fallback").is_some() {
        fields.problem("fallback", "needs texts; a template has its own");
    }
    id.map(|id| Source::Template { id, version })
}

fn entry(raw: &RawValue) -> Result<Fields, ValidationError> {
    Fields::from_slice(raw.get().as_bytes())
        .map_err(|_| ValidationError::field("entry", "is not a JSON object"))
}

fn message(raw: &RawValue) -> Entry<SendRequest> {
    let mut fields = entry(raw)?;
    let message = SendRequest::take(&mut fields);
    fields.finish_with(Some(message))
}

fn recipient(raw: &RawValue) -> Entry<BulkRecipient> {
    let mut fields = entry(raw)?;
    let to = fields.required_text("to").unwrap_or_default();
    let variables = variables(&mut fields);
    let language = language(&mut fields);
    fields.finish_with(Some(BulkRecipient { to, variables, language }))
}

fn variables(fields: &mut Fields) -> BTreeMap<String, String> {
    let Some(mut entries) = fields.entries("variables") else { return BTreeMap::new() };
    let names = entries.names();
    let mut values = BTreeMap::new();
    for name in names {
        match entries.insertable(&name) {
            // A text can use a value hundreds of times.
            Some(value) if value.chars().count() > MAX_BODY => {
                entries.problem(name, format!("has more than {MAX_BODY} characters"));
            }
            Some(value) => {
                values.insert(name, value);
            }
            None => {}
        }
    }
    for problem in entries.finish().fields() {
        fields.problem(format!("variables.{}", problem.field), problem.reason.clone());
    }
    values
}

fn language(fields: &mut Fields) -> Option<Language> {
    let language: Option<Language> = fields.text("language")?.parse().ok();
    let language = language.filter(|language| *language != Language::Unknown);
    if language.is_none() {
        fields.problem("language", "must be en, es or pt");
    }
    language
}

/// Returns the JSON of a body independent of the order and spacing of its fields, for its hash.
pub(crate) fn canonical(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut value) => {
            value.sort_all_objects();
            value.to_string().into_bytes()
        }
        Err(_) => body.to_vec(),
    }
}
