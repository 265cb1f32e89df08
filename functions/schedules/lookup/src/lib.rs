//! What Twilio's own lists say of our messages.
//!
//! No function, but what those share that read these lists: `resolve-unknown`, `reconcile-twilio`, and `send-outbound`
//! before it sends late. It uses two adapters, `twilio` and `db`, and so has no place in `common` (decision 6).

use common::clock;
use common::db::sends::{self, Rival};
use common::db::statuses::{self, NewStatus, RecordedStatus};
use common::db::{Db, DbError};
use common::domain::message::Status;
use common::twilio::{
    ClientError, Likeness, Message, RenewalPolicy, SendError, Sender, Sought, TwilioClient, likeness,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// Why a function that looks there can't start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Postgres can't be spoken to.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Twilio can't be spoken to.
    #[error(transparent)]
    Twilio(#[from] ClientError),
}

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Twilio did not list its messages.
    #[error("listing Twilio's messages")]
    Twilio(#[source] SendError),
}

/// A message that may be at Twilio, and what it would look like there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Our id.
    pub message_id: Uuid,
    /// What to look for.
    pub sought: Sought,
    /// Whether a create was attempted within the times of `sought`. Then every message that nobody owns may be this one;
    /// otherwise only one whose content may be ours.
    pub is_attempted: bool,
}

impl Missing {
    fn is_candidate(&self, message: &Message) -> bool {
        match self.sought.likeness(message) {
            Some(Likeness::Same | Likeness::Unclear) => true,
            Some(Likeness::Different) => self.is_attempted,
            None => false,
        }
    }

    fn is_same(&self, message: &Message) -> bool {
        self.sought.likeness(message) == Some(Likeness::Same)
    }
}

/// What a list had of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is there, and is ours from here on.
    Adopted {
        /// Twilio's id.
        twilio_sid: String,
    },
    /// A message is there that nobody owns, and nothing tells whether it is this one: look again later.
    Undecided,
    /// No message is there that could be this one.
    Absent,
}

/// Who looks, and where.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// Our side.
    pub db: &'a Db,
    /// Twilio's side.
    pub twilio: &'a TwilioClient,
    /// What follows from a failure that is found.
    pub renewals: &'a RenewalPolicy,
}

impl Lookup<'_> {
    /// Looks for messages to one number by one sender in one list, and adopts those that are found: of several with the same
    /// content the oldest gets the oldest. A message is absent only if no candidate is left for it.
    ///
    /// # Errors
    ///
    /// [`LookupError`]; what was adopted by then stays so, and looking again is always safe.
    pub async fn find(
        &self,
        to: &str,
        sender: &Sender,
        missing: &[Missing],
    ) -> Result<Vec<Finding>, LookupError> {
        let Some(since) = missing.iter().map(|missing| missing.sought.since).min() else {
            return Ok(Vec::new());
        };
        let listed = self.twilio.sent_to(to, sender, since).await.map_err(LookupError::Twilio)?;
        let sids: Vec<&str> = listed.iter().map(|message| message.sid.as_str()).collect();
        let claimed = sends::claimed_sids(self.db, &sids).await?;
        let unowned: Vec<&Message> =
            listed.iter().filter(|message| !claimed.contains(&message.sid)).collect();
        if unowned.is_empty() {
            return Ok(vec![Finding::Absent; missing.len()]);
        }
        // Read after the list: what is handed over later is not in it, and what was handed over before has its SID.
        let ids: Vec<Uuid> = missing.iter().map(|missing| missing.message_id).collect();
        let rivals = sends::rivals(self.db, &ids).await?;
        let is_other_claimed =
            rivals.iter().any(|rival| rival.is_claimed && !ids.contains(&rival.message_id));
        let mut free = unowned.clone();
        let mut findings = Vec::with_capacity(missing.len());
        for missing in missing {
            findings.push(if !free.iter().any(|message| missing.is_candidate(message)) {
                Finding::Absent
            } else if is_other_claimed || is_contested(missing, &unowned, &rivals) {
                Finding::Undecided
            } else {
                match free.iter().position(|message| missing.is_same(message)) {
                    Some(place) => self.adopt(missing.message_id, free.remove(place)).await?,
                    None => Finding::Undecided,
                }
            });
        }
        Ok(findings)
    }

    /// Takes a message of Twilio's as ours, as a callback that carries our id would, with all that follows from its status.
    async fn adopt(&self, message_id: Uuid, found: &Message) -> Result<Finding, DbError> {
        let now = clock::now();
        let told = status_of(found, Some(message_id), now);
        let recorded = statuses::record(self.db, &[told], self.renewals, now).await?;
        statuses::join_orphans(self.db, Some(&found.sid), self.renewals, now).await?;
        let is_ours = recorded.iter().any(|recorded| recorded.message_id == Some(message_id));
        Ok(if is_ours { Finding::Adopted { twilio_sid: found.sid.clone() } } else { Finding::Undecided })
    }

    /// Records what Twilio's list says of messages that we know by their SIDs, as their callbacks would have.
    ///
    /// # Errors
    ///
    /// [`DbError`]; doing it again is always safe.
    pub async fn record(&self, listed: &[&Message], now: Timestamp) -> Result<Vec<RecordedStatus>, DbError> {
        let told: Vec<NewStatus> = listed.iter().map(|message| status_of(message, None, now)).collect();
        statuses::record(self.db, &told, self.renewals, now).await
    }
}

/// Tells whether fewer messages look like this one than there are messages of ours that may be behind them. Messages with
/// identical content are no rivals: whichever gets a SID, each handset gets as many copies as were asked for.
fn is_contested(missing: &Missing, unowned: &[&Message], rivals: &[Rival]) -> bool {
    let same: Vec<_> = unowned.iter().filter(|message| missing.is_same(message)).collect();
    let Some(this) = rivals.iter().find(|rival| rival.message_id == missing.message_id) else { return false };
    let may_be = |rival: &&Rival| {
        let files = rival.media.as_array().map_or(0, Vec::len);
        same.iter().any(|message| likeness(&rival.message_content, files, message) != Likeness::Different)
    };
    let is_identical =
        |rival: &&Rival| rival.message_content == this.message_content && rival.media == this.media;
    let (identical, others): (Vec<_>, Vec<_>) = rivals.iter().filter(may_be).partition(is_identical);
    !others.is_empty() && same.len() < identical.len() + others.len()
}

/// What a message of Twilio's list says of its status, in the form of a callback. It counts from when it happened: what was
/// recorded since then is newer, above all an opt-in.
fn status_of(message: &Message, message_id: Option<Uuid>, now: Timestamp) -> NewStatus {
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

/// Twilio's description of a message with a mark that it did not come by webhook.
#[must_use]
pub fn marked(listed: &Value) -> Value {
    let mut marked = without_nul(listed);
    if let Some(fields) = marked.as_object_mut() {
        fields.insert("reconciled".to_owned(), json!(true));
    }
    marked
}

/// Postgres takes no NUL, which some carriers' texts hold.
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
