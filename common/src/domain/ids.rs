//! Ids of our rows. Separate types, so that one cannot be passed for another.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$meta:meta])* $id:ident;)+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
            #[serde(transparent)]
            pub struct $id(Uuid);

            impl $id {
                /// Returns the UUID.
                #[must_use]
                pub const fn uuid(&self) -> &Uuid {
                    &self.0
                }
            }

            impl From<Uuid> for $id {
                fn from(id: Uuid) -> Self {
                    Self(id)
                }
            }

            impl fmt::Display for $id {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }

            impl fmt::Debug for $id {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Debug::fmt(&self.0, f)
                }
            }

            impl FromStr for $id {
                type Err = uuid::Error;

                fn from_str(text: &str) -> Result<Self, Self::Err> {
                    text.parse().map(Self)
                }
            }
        )+
    };
}

ids! {
    /// The id of a message.
    MessageId;
    /// The id of a conversation.
    ConversationId;
    /// The id of an attempt to send a message.
    AttemptId;
    /// The id of a subscription to events.
    SubscriptionId;
    /// The id of a batch: one or several bulk requests.
    BatchId;
    /// The id of a message template.
    TemplateId;
    /// The id of a file of an inbound message.
    MediaId;
}
