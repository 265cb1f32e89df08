//! Turns the entries of a request into messages to store, or into the reasons why they are refused.

use crate::App;
use crate::request::{Bulk, BulkRecipient, Entry, Items, Source};
use common::db::batches::{self, KnownRecipient};
use common::db::sends::NewSend;
use common::db::templates;
use common::domain::language::Language;
use common::domain::phone::{PhoneError, Recipient};
use common::domain::rate_limit::{Quota, is_exempt};
use common::domain::template::Texts;
use common::http::{ApiError, ValidationError};
use common::service::sending::{self, Choice, MAX_BODY, NUMBER_DEACTIVATED, Origin, SendRequest};
use jiff::Timestamp;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// How many missing variables an error lists, so that its size is limited.
const MAX_MISSING: usize = 100;

/// A message that can be stored.
pub(crate) struct Ready {
    pub(crate) send: NewSend,
    /// The language whose text was chosen.
    pub(crate) language: Option<Language>,
    /// The time zone of the conversation.
    pub(crate) time_zone: Option<String>,
}

/// Why a message is refused.
pub(crate) enum Refusal {
    Invalid(ValidationError),
    OptedOut,
    /// The carrier has deactivated the number.
    Deactivated,
    /// The same text to the same number is in an earlier entry.
    Duplicate {
        of: usize,
    },
    /// The recipient has got too many messages.
    RateLimited(Quota),
}

impl Refusal {
    /// Returns the error that the same message would get alone.
    pub(crate) fn error(&self) -> ApiError {
        match self {
            Self::Invalid(problems) => ApiError::Validation(problems.clone()),
            Self::OptedOut => ApiError::RecipientOptedOut,
            Self::Deactivated => ApiError::Conflict(NUMBER_DEACTIVATED.into()),
            Self::Duplicate { of } => {
                ApiError::Conflict(Cow::Owned(format!("the message is a duplicate of entry {of}")))
            }
            Self::RateLimited(quota) => ApiError::RateLimited(*quota),
        }
    }

    /// Returns the reason in the counts of a dry run.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Invalid(problems) => match problems.fields() {
                [first, ..] => format!("{} {}", first.field, first.reason),
                [] => "invalid".to_owned(),
            },
            Self::OptedOut => "opted_out".to_owned(),
            Self::Deactivated => "number_deactivated".to_owned(),
            Self::Duplicate { .. } => "duplicate".to_owned(),
            Self::RateLimited(_) => "rate_limited".to_owned(),
        }
    }
}

/// The outcome of an entry.
pub(crate) type Item = Result<Box<Ready>, Refusal>;

/// An entry whose text may depend on its recipient.
struct Draft {
    message: SendRequest,
    variables: BTreeMap<String, String>,
    language: Option<Language>,
}

/// A recipient according to the numbering plan.
enum Address {
    Listed(Recipient),
    /// Only a number that has written to us.
    Unlisted(Recipient, PhoneError),
    Refused(PhoneError),
}

impl Address {
    fn new(app: &App, to: &str) -> Self {
        let plan = app.sending.plan();
        match plan.recipient(to) {
            Ok(recipient) => Self::Listed(recipient),
            Err(refusal) => match plan.unlisted_recipient(to, refusal) {
                Some(recipient) => Self::Unlisted(recipient, refusal),
                None => Self::Refused(refusal),
            },
        }
    }

    fn recipient(&self) -> Option<(&Recipient, bool)> {
        match self {
            Self::Listed(recipient) => Some((recipient, false)),
            Self::Unlisted(recipient, _) => Some((recipient, true)),
            Self::Refused(_) => None,
        }
    }
}

/// Prepares all entries, with one query for all recipients.
///
/// # Errors
///
/// [`ApiError::Validation`] when the template does not exist or a variable is missing, or when Postgres fails.
pub(crate) async fn prepare(app: &App, bulk: Bulk, origin: &Origin) -> Result<Vec<Item>, ApiError> {
    let Bulk { items, defaults, .. } = bulk;
    let sender = defaults.from.as_deref().map(|from| app.sending.named_sender(from));
    if sender.as_ref().is_some_and(Option::is_none) {
        return Err(ValidationError::field("from", "is not a configured number or messaging service").into());
    }
    let (texts, drafts): (Option<Texts>, Vec<Entry<Draft>>) = match items {
        Items::Messages(entries) => {
            let draft = |message| Draft { message, variables: BTreeMap::new(), language: None };
            (None, entries.into_iter().map(|entry| entry.map(draft)).collect())
        }
        Items::Recipients(source, entries) => {
            let texts = texts(app, source).await?;
            check_variables(&texts, &entries)?;
            (Some(texts), entries.into_iter().map(|entry| entry.map(Draft::from)).collect())
        }
    };
    let drafts: Vec<Entry<(Draft, Address)>> = drafts
        .into_iter()
        .map(|draft| {
            draft.map(|draft| {
                let address = Address::new(app, &draft.message.to);
                (Draft { message: defaults.apply(draft.message), ..draft }, address)
            })
        })
        .collect();
    let known = known(app, &drafts, origin.at).await?;
    let mut counts =
        RecipientCounts { limit: app.sending.limits().recipient, known: &known, in_request: HashMap::new() };
    let mut earlier: HashMap<(String, String, String), usize> = HashMap::new();
    let mut prepared = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.into_iter().enumerate() {
        let item = match draft {
            Ok((draft, address)) => {
                let known =
                    address.recipient().and_then(|(recipient, _)| known.get(recipient.e164().as_str()));
                ready(app, draft, address, known, texts.as_ref(), origin)
            }
            Err(problems) => Err(Refusal::Invalid(problems)),
        };
        let item = item.and_then(|ready| {
            let content = (
                ready.send.to.as_str().to_owned(),
                ready.send.message_content.clone(),
                ready.send.media.to_string(),
            );
            match earlier.insert(content.clone(), index) {
                Some(first) => {
                    earlier.insert(content, first);
                    Err(Refusal::Duplicate { of: first })
                }
                None => Ok(ready),
            }
        });
        prepared.push(item.and_then(|ready| counts.count(ready, origin.at)));
    }
    Ok(prepared)
}

/// Counts the messages to each recipient.
struct RecipientCounts<'a> {
    limit: Option<u32>,
    /// With the messages of the last 24 hours.
    known: &'a HashMap<String, KnownRecipient>,
    /// Those of this request.
    in_request: HashMap<String, i64>,
}

impl RecipientCounts<'_> {
    /// Counts a message, or refuses it if its recipient has got too many.
    fn count(&mut self, ready: Box<Ready>, now: Timestamp) -> Item {
        let Some(limit) = self.limit else { return Ok(ready) };
        let send = &ready.send;
        let recent = self.known.get(send.to.as_str()).map_or(0, |known| known.recent_messages);
        let in_request = self.in_request.entry(send.to.as_str().to_owned()).or_default();
        if recent + *in_request >= i64::from(limit) && !is_exempt(send.priority, send.purpose) {
            // The error of an entry has no headers, so the time of the oldest message is not needed.
            return Err(Refusal::RateLimited(Quota::used_up(limit, now, now)));
        }
        *in_request += 1;
        Ok(ready)
    }
}

impl From<BulkRecipient> for Draft {
    fn from(recipient: BulkRecipient) -> Self {
        let BulkRecipient { to, variables, language } = recipient;
        Self { message: SendRequest::to(to), variables, language }
    }
}

async fn texts(app: &App, source: Source) -> Result<Texts, ApiError> {
    match source {
        Source::Texts(texts) => Ok(texts),
        Source::Template { id, version } => match templates::find(&app.db, id, version).await? {
            Some(template) => Ok(template.texts),
            None => {
                let field = if version.is_some() { "template_version" } else { "template_id" };
                Err(ValidationError::field(field, "does not exist").into())
            }
        },
    }
}

/// Every recipient must have a value for every variable of all texts, whichever text is chosen.
fn check_variables(texts: &Texts, entries: &[Entry<BulkRecipient>]) -> Result<(), ValidationError> {
    let names = texts.variables();
    let mut problems = ValidationError::default();
    let mut missing = 0;
    for (index, recipient) in entries.iter().enumerate() {
        let Ok(recipient) = recipient else { continue };
        for name in names.iter().filter(|name| !recipient.variables.contains_key(**name)) {
            missing += 1;
            if missing <= MAX_MISSING {
                problems.add(format!("recipients[{index}].variables.{name}"), "is missing");
            }
        }
    }
    if missing > MAX_MISSING {
        problems.add("recipients", format!("lack {} more variables", missing - MAX_MISSING));
    }
    problems.check()
}

async fn known(
    app: &App,
    drafts: &[Entry<(Draft, Address)>],
    now: Timestamp,
) -> Result<HashMap<String, KnownRecipient>, ApiError> {
    let addresses = drafts.iter().flatten().filter_map(|(_, address)| address.recipient());
    let numbers: BTreeMap<&str, _> = addresses
        .map(|(recipient, is_unlisted)| (recipient.e164().as_str(), (recipient.e164(), is_unlisted)))
        .collect();
    let numbers: Vec<_> = numbers.into_values().collect();
    let limit = app.sending.limits().recipient;
    let found = batches::recipients(&app.db, app.sending.account_sid(), &numbers, limit, now).await?;
    Ok(found.into_iter().map(|known| (known.number.clone(), known)).collect())
}

/// Validates an entry as `POST /sms/send` does.
fn ready(
    app: &App,
    draft: Draft,
    address: Address,
    known: Option<&KnownRecipient>,
    texts: Option<&Texts>,
    origin: &Origin,
) -> Item {
    let Draft { mut message, variables, language } = draft;
    let mut problems = ValidationError::default();
    let language = match texts {
        Some(texts) => {
            let conversation = known.map(|known| known.language).filter(|known| *known != Language::Unknown);
            let tenant = known.and_then(|known| known.tenant_language);
            let (chosen, text) = texts.choose([language, conversation, tenant].into_iter().flatten());
            match text.render(&variables) {
                Ok(body) => message.body = Some(body),
                Err(missing) => problems.add("variables", missing.to_string()),
            }
            if message.body.as_ref().is_some_and(|body| body.chars().count() > MAX_BODY) {
                problems
                    .add("variables", format!("make the {chosen} text longer than {MAX_BODY} characters"));
                message.body = None;
            }
            Some(chosen)
        }
        None => None,
    };
    let recipient = recipient(app, address, known, &mut problems);
    if problems.is_empty() || texts.is_none() {
        sending::judge(&message, origin.at, &mut problems);
    }
    let choice = choice(app, &message, known, &mut problems);
    if let Some(id) = message.conversation_id
        && known.is_none_or(|known| known.conversation_id != id)
    {
        problems.add("conversation_id", "is not the conversation with this number");
    }
    let (Some(recipient), Some(choice), true) = (recipient, choice, problems.is_empty()) else {
        return Err(Refusal::Invalid(problems));
    };
    let purpose = message.purpose.unwrap_or_default();
    if known.is_some_and(|known| known.refuses(message.workflow_type.as_deref(), purpose)) {
        return Err(Refusal::OptedOut);
    }
    if known.is_some_and(|known| known.deactivated) {
        return Err(Refusal::Deactivated);
    }
    let send = app.sending.new_send(message, choice, recipient, origin);
    Ok(Box::new(Ready { send, language, time_zone: known.and_then(|known| known.time_zone.clone()) }))
}

fn recipient(
    app: &App,
    address: Address,
    known: Option<&KnownRecipient>,
    problems: &mut ValidationError,
) -> Option<Recipient> {
    let recipient = match address {
        Address::Listed(recipient) => recipient,
        Address::Unlisted(recipient, _) if known.is_some_and(|known| known.has_written) => recipient,
        Address::Unlisted(_, refusal) | Address::Refused(refusal) => {
            problems.add("to", format!("can't be sent to: {refusal}"));
            return None;
        }
    };
    if let Some(refusal) = app.sending.country_refusal(recipient.e164()) {
        problems.add("to", refusal);
        return None;
    }
    Some(recipient)
}

fn choice(
    app: &App,
    message: &SendRequest,
    known: Option<&KnownRecipient>,
    problems: &mut ValidationError,
) -> Option<Choice> {
    let Some(from) = message.from.as_deref() else {
        return app.sending.default_sender(known.map(KnownRecipient::last_sender).as_ref());
    };
    let choice = app.sending.named_sender(from);
    if choice.is_none() {
        problems.add("from", "is not a configured number or messaging service");
    }
    choice
}
