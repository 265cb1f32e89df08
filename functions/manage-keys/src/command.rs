//! The commands of an operator.

use common::http::{Fields, Scope, ValidationError};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// The maximum length of a key's name, in characters.
const MAX_NAME: usize = 200;

/// A command of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Create a key.
    Create {
        /// The owner of the key.
        name: String,
        /// The scopes, without duplicates.
        scopes: Vec<Scope>,
        /// When the key expires.
        expires_at: Option<Timestamp>,
    },
    /// List all keys.
    List,
    /// Revoke a key.
    Revoke {
        /// The id of the key.
        id: Uuid,
    },
}

impl Command {
    /// Parses a payload.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with all invalid fields.
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
    let names = fields.texts("scopes");
    if names.as_ref().is_none_or(Vec::is_empty) {
        fields.missing("scopes");
    }
    let mut scopes = Vec::new();
    for (position, name) in names?.into_iter().enumerate() {
        match name.parse::<Scope>() {
            Ok(scope) if scopes.contains(&scope) => {}
            Ok(scope) => scopes.push(scope),
            Err(error) => {
                let valid = Scope::ALL.map(Scope::as_str).join(", ");
                fields.problem(format!("scopes[{position}]"), format!("{error}; valid scopes: {valid}"));
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
