//! What Twilio's own lists say of our messages.
//!
//! No function, but what those share that read these lists: `resolve-unknown`, `reconcile-twilio`, and `send-outbound`
//! before it sends late. It uses two adapters, `twilio` and `db`, and so has no place in `common` (decision 6).

use common::clock;
use common::db::statuses::{self, NewStatus, RecordedStatus};
use common::db::{Db, DbError, sends};
use common::domain::message::Status;
use common::twilio::{ClientError, Message, RenewalPolicy, SendError, Sender, Sought, TwilioClient};
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
}

/// What a list had of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is there, and is ours from here on.
    Adopted {
        /// Twilio's id.
        twilio_sid: String,
    },
    /// One is there that may be this one or a twin of it that is being handed over this moment: look again later.
    Undecided,
    /// It is not there.
    Absent,
}

/// Which messages that look the same, and are being handed over this moment, keep another one from being decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twins {
    /// All of them.
    All,
    /// Those that are older: of several that are looked for at once, one at least goes ahead.
    Older,
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
    /// Which twins under way must be waited for.
    pub twins: Twins,
}

impl Lookup<'_> {
    /// Looks for messages to one number by one sender in one list, and adopts what is found: several that look alike
    /// each get another one, the oldest the oldest, and only what is left over is absent.
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
        let mut free: Vec<&Message> =
            listed.iter().filter(|message| !claimed.contains(&message.sid)).collect();
        let mut findings = Vec::with_capacity(missing.len());
        for missing in missing {
            let place = free.iter().position(|message| missing.sought.is(message));
            findings.push(match place.map(|place| free.remove(place)) {
                None => Finding::Absent,
                Some(message) if self.adopt(missing.message_id, message).await? => {
                    Finding::Adopted { twilio_sid: message.sid.clone() }
                }
                Some(_) => Finding::Undecided,
            });
        }
        Ok(findings)
    }

    /// Takes a message of Twilio's for ours, as a callback that carries our id would, and with all that follows from its
    /// status. Tells whether it is.
    async fn adopt(&self, message_id: Uuid, found: &Message) -> Result<bool, DbError> {
        // Asked after the list was read: what is handed over later is not in it, what was handed over before has its SID.
        if sends::twin_under_way(self.db, message_id, self.twins == Twins::Older).await? {
            return Ok(false);
        }
        let now = clock::now();
        let told = status_of(found, Some(message_id), now);
        let recorded = statuses::record(self.db, &[told], self.renewals, now).await?;
        statuses::join_orphans(self.db, Some(&found.sid), self.renewals, now).await?;
        Ok(recorded.iter().any(|recorded| recorded.message_id == Some(message_id)))
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

/// What a message of Twilio's list says of its status, in the form of a callback.
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
        received_at: now,
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
