//! Changes to the opt-out ledger, and what they apply to.

use super::message::Purpose;
use super::named::named_enum;
use std::fmt;
use std::str::FromStr;

named_enum! {
    /// What a change does.
    pub enum OptOutAction: "an opt-out action" {
        /// The number refuses further messages.
        OptOut = "opt_out",
        /// The number wants messages again.
        OptIn = "opt_in",
    }
}

named_enum! {
    /// How a change was detected.
    pub enum OptOutSource: "the source of an opt-out" {
        /// The message is a keyword such as STOP.
        Keyword = "keyword",
        /// A sentence refuses messages.
        FreeText = "free_text",
        /// Twilio's parameter `OptOutType`.
        OptOutType = "opt_out_type",
        /// An error code of Twilio.
        TwilioError = "twilio_error",
        /// Consent that was given or revoked elsewhere, and recorded through the API.
        Consent = "consent",
    }
}

/// The longest workflow type, in characters.
const MAX_WORKFLOW: usize = 255;

/// What an opt-out or opt-in applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentScope {
    /// All messages.
    All,
    /// Messages of this workflow.
    Workflow(String),
    /// Messages with this purpose.
    Purpose(Purpose),
}

impl ConsentScope {
    /// Returns the text in events, in which all messages are not mentioned.
    #[must_use]
    pub fn restriction(&self) -> Option<String> {
        (*self != Self::All).then(|| self.to_string())
    }

    /// Returns whether one of these scopes, as stored, contains a message with this workflow and purpose. Postgres has
    /// the same rule for messages that are stored (`migrations/functions/sms_refuses.sql`).
    #[must_use]
    pub fn any_contains(stored: &[String], workflow_type: Option<&str>, purpose: Purpose) -> bool {
        let workflow = workflow_type.map(|workflow_type| Self::Workflow(workflow_type.to_owned()));
        let of_message = [workflow, Some(Self::Purpose(purpose))];
        of_message.into_iter().flatten().any(|scope| stored.contains(&scope.to_string()))
    }
}

impl fmt::Display for ConsentScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Workflow(workflow_type) => write!(f, "workflow:{workflow_type}"),
            Self::Purpose(purpose) => write!(f, "purpose:{purpose}"),
        }
    }
}

/// The text is not a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be all, workflow: with a workflow_type of at most {} characters, or purpose: with service, marketing or \
     emergency",
    MAX_WORKFLOW
)]
pub struct InvalidScope;

impl FromStr for ConsentScope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("workflow", name)) if !name.trim().is_empty() && name.chars().count() <= MAX_WORKFLOW => {
                Ok(Self::Workflow(name.to_owned()))
            }
            Some(("purpose", name)) => name.parse().map(Self::Purpose).map_err(|_| InvalidScope),
            _ => Err(InvalidScope),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_from_its_text() {
        for text in ["all", "workflow:collections", "workflow:a:b", "purpose:marketing"] {
            assert_eq!(text.parse::<ConsentScope>().unwrap().to_string(), text);
        }
        let long = format!("workflow:{}", "x".repeat(256));
        for text in ["", "All", "collections", "workflow:", "workflow: ", "purpose:x", "purpose", &long] {
            assert_eq!(text.parse::<ConsentScope>(), Err(InvalidScope), "{text}");
        }
    }

    #[test]
    fn a_scope_contains_the_messages_of_its_workflow_or_purpose() {
        let stored = ["workflow:collections".to_owned(), "purpose:marketing".to_owned()];
        for (workflow_type, purpose, contained) in [
            (None, Purpose::Service, false),
            (Some("leasing"), Purpose::Service, false),
            (Some("collections"), Purpose::Service, true),
            (None, Purpose::Marketing, true),
            (Some("leasing"), Purpose::Marketing, true),
        ] {
            let found = ConsentScope::any_contains(&stored, workflow_type, purpose);
            assert_eq!(found, contained, "{workflow_type:?} {purpose}");
        }
    }
}
