//! The changes that the journal stores.

use serde::{Deserialize, Serialize};

use crate::state::file::File;
use crate::state::message::{Message, Received};

/// One change of the store, as written to the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// A message was created or changed.
    Message(Box<Message>),
    /// A message was deleted.
    Deleted(String),
    /// A media file was stored under its SID.
    File(String, File),
    /// A media file of a message was deleted.
    MediaDeleted { message: String, media: String },
    /// A handset received a text.
    Received(Received),
    /// A handset opted out of a sender or messaging service, or opted in again.
    OptOut { handset: String, scope: String, out: bool },
    /// A handset's messages and opt-outs were deleted.
    HandsetCleared(String),
    /// All messages, received texts and opt-outs were deleted.
    Cleared,
}
