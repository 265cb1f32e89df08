//! API keys: scopes, and the result of the gateway's authorizer.

use super::ApiError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A permission of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Send and cancel messages.
    MessagesSend,
    /// Read single messages.
    MessagesRead,
    /// Read conversations.
    ConversationsRead,
    /// Change conversations.
    ConversationsWrite,
    /// Read events.
    EventsRead,
    /// Create and change the key's subscriptions to events.
    SubscriptionsManage,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 7] = [
        Self::MessagesSend,
        Self::MessagesRead,
        Self::ConversationsRead,
        Self::ConversationsWrite,
        Self::EventsRead,
        Self::SubscriptionsManage,
        Self::Admin,
    ];

    /// Returns the name of the scope.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessagesSend => "messages:send",
            Self::MessagesRead => "messages:read",
            Self::ConversationsRead => "conversations:read",
            Self::ConversationsWrite => "conversations:write",
            Self::EventsRead => "events:read",
            Self::SubscriptionsManage => "subscriptions:manage",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is not a scope.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a scope")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == word)
            .ok_or_else(|| UnknownScope(word.to_owned()))
    }
}

/// A verified caller, as the authorizer passes it to the functions behind the gateway.
///
/// The scopes are joined because the context of an authorizer may only contain strings, numbers and booleans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The key's id. Idempotency keys are unique per API key.
    pub key_id: Uuid,
    /// The key's scopes, joined by spaces.
    pub scopes: String,
}

/// The result of the authorizer, passed on as its context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Caller {
    /// The key is valid.
    Known(Principal),
    /// The keys could not be read. The endpoint must verify the key itself.
    Unverified {
        /// Always true. The context must not be empty.
        unverified: bool,
    },
}

impl Principal {
    /// Returns whether the key has `scope`; `admin` includes all scopes.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.split(' ').any(|held| held == scope.as_str() || held == Scope::Admin.as_str())
    }

    /// Checks that the key has `scope`.
    ///
    /// # Errors
    ///
    /// [`ApiError::Forbidden`] with the missing scope.
    pub fn may(&self, scope: Scope) -> Result<(), ApiError> {
        if self.has(scope) { Ok(()) } else { Err(ApiError::Forbidden { missing: scope }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_parsed_from_their_names() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse::<Scope>().unwrap(), scope);
        }
        assert!("messages".parse::<Scope>().is_err());
    }

    #[test]
    fn a_key_has_its_scopes_and_admin_has_all() {
        let key = |scopes: &str| Principal { key_id: Uuid::nil(), scopes: scopes.to_owned() };
        assert!(key("messages:read messages:send").has(Scope::MessagesSend));
        assert!(!key("messages:read").has(Scope::MessagesSend));
        assert!(!key("").has(Scope::MessagesSend));
        assert!(Scope::ALL.into_iter().all(|scope| key("admin").has(scope)));
    }
}
