//! Finds our messages in Twilio's message list.
//!
//! `resolve-unknown` looks for messages whose create request had no response, `send-outbound` for messages that are
//! sent late, and `reconcile-twilio` records the statuses of the list.

use crate::clock;
use crate::db::sends::{self, Rival};
use crate::db::statuses::{self, NewStatus, RecordedStatus};
use crate::db::{Db, DbError};
use crate::domain::ids::MessageId;
use crate::domain::message::Status;
use crate::domain::phone::E164;
use crate::domain::sender::Sender;
use crate::domain::sids::MessageSid;
use crate::twilio::{
    ClientError, ExpectedMessage, Message, RenewalPolicy, SendError, Similarity, TwilioClient, similarity,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Invalid settings of Postgres or Twilio.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The settings of Postgres are invalid.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The settings of Twilio are invalid.
    #[error(transparent)]
    Twilio(#[from] ClientError),
}

/// The lookup failed.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Twilio did not return its list.
    #[error("could not list the messages at Twilio")]
    Twilio(#[source] SendError),
}

/// A message that may exist at Twilio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Our id of the message.
    pub message_id: MessageId,
    /// What to look for.
    pub sought: ExpectedMessage,
    /// Whether a create was attempted within the period of `sought`. If so, every message without an owner is a
    /// candidate; otherwise only one with similar content.
    pub is_attempted: bool,
}

impl Missing {
    fn is_candidate(&self, message: &Message) -> bool {
        match self.sought.similarity(message) {
            Some(Similarity::Same | Similarity::Unclear) => true,
            Some(Similarity::Different) => self.is_attempted,
            None => false,
        }
    }

    fn is_same(&self, message: &Message) -> bool {
        self.sought.similarity(message) == Some(Similarity::Same)
    }
}

/// The result for one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Twilio has the message. Its SID and status were stored.
    Adopted {
        /// The SID.
        twilio_sid: MessageSid,
    },
    /// Twilio has a message without an owner that may be this one. Look again later.
    Undecided,
    /// Twilio has no message that can be this one.
    Absent,
}

/// The clients and the policy of a lookup.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// Our database.
    pub db: &'a Db,
    /// The client of Twilio's API.
    pub twilio: &'a TwilioClient,
    /// When a failed message is created again.
    pub renewals: &'a RenewalPolicy,
}

impl Lookup<'_> {
    /// Looks for messages from one sender to one number in one list, and stores the SIDs of those that it finds. Of
    /// several messages with the same content, the oldest gets the oldest SID. A message is absent only if no candidate
    /// is left.
    ///
    /// # Errors
    ///
    /// [`LookupError`]. SIDs that were stored stay stored. Retrying is safe.
    pub async fn find(
        &self,
        to: &E164,
        sender: &Sender,
        missing: &[Missing],
    ) -> Result<Vec<Presence>, LookupError> {
        let Some(since) = missing.iter().map(|missing| missing.sought.since).min() else {
            return Ok(Vec::new());
        };
        let listed = self.twilio.sent_to(to, sender, since).await.map_err(LookupError::Twilio)?;
        let sids: Vec<&MessageSid> = listed.iter().map(|message| &message.sid).collect();
        let claimed = sends::claimed_sids(self.db, &sids).await?;
        let unowned: Vec<&Message> =
            listed.iter().filter(|message| !claimed.contains(&message.sid)).collect();
        if unowned.is_empty() {
            return Ok(vec![Presence::Absent; missing.len()]);
        }
        // Read after the list: messages created later are not in the list, and those created before have their SIDs.
        let ids: Vec<MessageId> = missing.iter().map(|missing| missing.message_id).collect();
        let rivals = sends::rivals(self.db, &ids).await?;
        let is_other_claimed =
            rivals.iter().any(|rival| rival.is_claimed && !ids.contains(&rival.message_id));
        let mut free = unowned.clone();
        let mut presences = Vec::with_capacity(missing.len());
        for missing in missing {
            presences.push(if !free.iter().any(|message| missing.is_candidate(message)) {
                Presence::Absent
            } else if is_other_claimed || is_contested(missing, &unowned, &rivals) {
                Presence::Undecided
            } else {
                match free.iter().position(|message| missing.is_same(message)) {
                    Some(place) => self.adopt(missing.message_id, free.remove(place)).await?,
                    None => Presence::Undecided,
                }
            });
        }
        Ok(presences)
    }

    /// Stores the SID and status of a message, as a status callback with our id would.
    async fn adopt(&self, message_id: MessageId, found: &Message) -> Result<Presence, DbError> {
        let now = clock::now();
        let status = status_of(found, Some(message_id), now);
        let recorded = statuses::record(self.db, &[status], self.renewals, now).await?;
        statuses::join_orphans(self.db, Some(&found.sid), self.renewals, now).await?;
        let is_ours = recorded.iter().any(|recorded| recorded.message_id == Some(message_id));
        Ok(if is_ours { Presence::Adopted { twilio_sid: found.sid.clone() } } else { Presence::Undecided })
    }

    /// Records the statuses of listed messages whose SIDs we know, as their status callbacks would.
    ///
    /// # Errors
    ///
    /// [`DbError`]. Retrying is safe.
    pub async fn record(&self, listed: &[&Message], now: Timestamp) -> Result<Vec<RecordedStatus>, DbError> {
        let new: Vec<NewStatus> = listed.iter().map(|message| status_of(message, None, now)).collect();
        statuses::record(self.db, &new, self.renewals, now).await
    }
}

/// Returns whether more of our messages may match than there are messages like this one at Twilio. Messages with
/// identical content do not compete: whichever gets a SID, the recipient gets the same number of copies.
fn is_contested(missing: &Missing, unowned: &[&Message], rivals: &[Rival]) -> bool {
    let same: Vec<_> = unowned.iter().filter(|message| missing.is_same(message)).collect();
    let Some(this) = rivals.iter().find(|rival| rival.message_id == missing.message_id) else { return false };
    let may_be = |rival: &&Rival| {
        let files = rival.media.as_array().map_or(0, Vec::len);
        same.iter().any(|message| similarity(&rival.message_content, files, message) != Similarity::Different)
    };
    let is_identical =
        |rival: &&Rival| rival.message_content == this.message_content && rival.media == this.media;
    let (identical, others): (Vec<_>, Vec<_>) = rivals.iter().filter(may_be).partition(is_identical);
    !others.is_empty() && same.len() < identical.len() + others.len()
}

/// Converts a listed message to a status callback. It is dated by Twilio's timestamps, so that an opt-in that was
/// recorded since then stays newer.
fn status_of(message: &Message, message_id: Option<MessageId>, now: Timestamp) -> NewStatus {
    NewStatus {
        id: clock::new_id(),
        twilio_sid: message.sid.clone(),
        message_id,
        status: Status::from_twilio(&message.status),
        event_status: message.status.clone(),
        error_code: message.error_code.filter(|&code| code != 0).map(|code| code.to_string()),
        raw_webhook_data: marked(&message.json),
        nul_removed: false,
        received_at: message.updated_at.or(message.sent_at).or(message.created_at).unwrap_or(now).min(now),
    }
}

/// Returns Twilio's description of a message, marked as not received by webhook.
#[must_use]
pub fn marked(listed: &Value) -> Value {
    let mut marked = without_nul(listed);
    if let Some(fields) = marked.as_object_mut() {
        fields.insert("reconciled".to_owned(), json!(true));
    }
    marked
}

/// Removes NUL characters, which occur in the texts of some carriers and which `jsonb` rejects.
fn without_nul(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace('\0', "").into(),
        Value::Array(entries) => entries.iter().map(without_nul).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.replace('\0', ""), without_nul(value))).collect()
        }
        other => other.clone(),
    }
}
