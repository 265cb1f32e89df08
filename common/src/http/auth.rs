//! Who calls, and what the caller's key allows.
//!
//! The gateway's authorizer looks the key up and hands the result on as its context; functions only read it.

use super::ApiError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// What a key may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Send and cancel messages.
    MessagesSend,
    /// Read single messages.
    MessagesRead,
    /// Read conversations.
    ConversationsRead,
    /// Set a conversation's workflow.
    ConversationsWrite,
    /// Make, list, rotate and delete subscriptions.
    SubscriptionsManage,
    /// Read the event log.
    EventsRead,
    /// Read statistics.
    StatsRead,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 8] = [
        Self::MessagesSend,
        Self::MessagesRead,
        Self::ConversationsRead,
        Self::ConversationsWrite,
        Self::SubscriptionsManage,
        Self::EventsRead,
        Self::StatsRead,
        Self::Admin,
    ];

    /// Returns the scope as it is written in a key and in errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessagesSend => "messages:send",
            Self::MessagesRead => "messages:read",
            Self::ConversationsRead => "conversations:read",
            Self::ConversationsWrite => "conversations:write",
            Self::SubscriptionsManage => "subscriptions:manage",
            Self::EventsRead => "events:read",
            Self::StatsRead => "stats:read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no scope.
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

/// The holder of a key, as the authorizer hands it on to the functions behind the gateway.
///
/// API Gateway lets an authorizer's context hold strings, numbers and booleans only, hence the joined scopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The key's id, which idempotency is counted by.
    pub key_id: Uuid,
    /// The key's scopes, joined by spaces.
    pub scopes: String,
}

/// What an authorizer hands on: the holder of a key, or that it could not be asked whose the key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Caller {
    /// The key is good.
    Known(Principal),
    /// The keys could not be read. Nobody is let in by this: who serves the request asks again, or turns it away.
    Unverified {
        /// Always true; API Gateway wants a context to hold something.
        unverified: bool,
    },
}

impl Principal {
    /// Tells whether the key allows `scope`; `admin` allows everything.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.split(' ').any(|held| held == scope.as_str() || held == Scope::Admin.as_str())
    }

    /// Lets a holder of `scope` pass.
    ///
    /// # Errors
    ///
    /// [`ApiError::Forbidden`], naming the scope, when the key lacks it.
    pub fn may(&self, scope: Scope) -> Result<(), ApiError> {
        if self.has(scope) { Ok(()) } else { Err(ApiError::Forbidden { missing: scope }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_parsed_from_how_it_is_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse::<Scope>().unwrap(), scope);
        }
        assert!("messages".parse::<Scope>().is_err());
    }

    #[test]
    fn a_key_allows_its_scopes_and_admin_allows_all() {
        let key = |scopes: &str| Principal { key_id: Uuid::nil(), scopes: scopes.to_owned() };
        assert!(key("messages:read messages:send").has(Scope::MessagesSend));
        assert!(!key("messages:read").has(Scope::MessagesSend));
        assert!(!key("").has(Scope::MessagesSend));
        assert!(Scope::ALL.into_iter().all(|scope| key("admin").has(scope)));
    }
}
