//! What an operator asks for.

use common::http::{Fields, Scope, ValidationError};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// The longest name of a key, in characters.
const MAX_NAME: usize = 200;

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make a key.
    Create {
        /// Who will hold it.
        name: String,
        /// What it allows, each once.
        scopes: Vec<Scope>,
        /// When it ends, if it does.
        expires_at: Option<Timestamp>,
    },
    /// List all keys.
    List,
    /// Revoke a key.
    Revoke {
        /// Which one.
        id: Uuid,
    },
}

impl Command {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with every field at fault.
    pub fn from_payload(payload: Value, now: Timestamp) -> Result<Self, ValidationError> {
        let mut fields = Fields::from_value(payload)?;
        let action = fields.text("action");
        let command = match action.as_deref() {
            Some("create") => create(&mut fields, now),
            Some("list") => Some(Self::List),
            Some("revoke") => revoke(&mut fields),
            _ => return Err(ValidationError::field("action", "must be create, list or revoke")),
        };
        fields.finish_with(command)
    }
}

fn create(fields: &mut Fields, now: Timestamp) -> Option<Command> {
    let name = name(fields);
    let scopes = scopes(fields);
    let expires_at = fields.instant("expires_at");
    if expires_at.is_some_and(|at| at <= now) {
        fields.problem("expires_at", "has passed");
    }
    Some(Command::Create { name: name?, scopes: scopes?, expires_at })
}

fn name(fields: &mut Fields) -> Option<String> {
    let name = fields.required_text("name")?;
    let name = name.trim();
    if name.is_empty() {
        fields.problem("name", "is blank");
    } else if name.chars().count() > MAX_NAME {
        fields.problem("name", format!("has more than {MAX_NAME} characters"));
    }
    Some(name.to_owned())
}

fn scopes(fields: &mut Fields) -> Option<Vec<Scope>> {
    let words = fields.texts("scopes");
    if words.as_ref().is_none_or(Vec::is_empty) {
        fields.missing("scopes");
    }
    let mut scopes = Vec::new();
    for (position, word) in words?.into_iter().enumerate() {
        match word.parse::<Scope>() {
            Ok(scope) if scopes.contains(&scope) => {}
            Ok(scope) => scopes.push(scope),
            Err(error) => {
                let known = Scope::ALL.map(Scope::as_str).join(", ");
                fields.problem(format!("scopes[{position}]"), format!("{error}: known are {known}"));
            }
        }
    }
    Some(scopes)
}

fn revoke(fields: &mut Fields) -> Option<Command> {
    let id = fields.id("id");
    if id.is_none() {
        fields.missing("id");
    }
    Some(Command::Revoke { id: id? })
}
