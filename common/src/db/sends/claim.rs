//! Claims: committed before a call to Twilio, so that nobody else makes it.

use crate::db::senders::WakeUp;
use crate::db::{Db, DbError, Row, Type};
use crate::domain::pace::SenderRates;
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// How many messages one call claims at most: each is a call to Twilio of its own, all at once, and an account has some
/// hundred of these at a time for all functions that run.
const MAX_CLAIMS: usize = 20;

/// How far ahead a sender's next message gets its wake-up: longer than the time between two sweeps, which find the rest.
pub(in crate::db) const HORIZON: Duration = Duration::from_secs(90);

/// A message that is ours to hand to Twilio, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The message.
    pub message_id: Uuid,
    /// The attempt that was written for it.
    pub attempt_id: Uuid,
    /// How many attempts there have been, this one included.
    pub attempt_number: i32,
    /// Whose pace and holds it goes by: `from`, or else the messaging service.
    pub sender: String,
    /// The recipient.
    pub to: String,
    /// The sender, if it is a number.
    pub from: Option<String>,
    /// The sender, if it is a messaging service.
    pub messaging_service_sid: Option<String>,
    /// The text.
    pub message_content: String,
    /// References to media.
    pub media_urls: Vec<String>,
    /// The request that asked for it.
    pub request_id: String,
    /// Not after.
    pub send_before: Option<Timestamp>,
    /// When it was to be sent first: its `send_at`, or else when it was asked for.
    pub wanted_at: Timestamp,
    /// When it became due: its place among the messages of its sender and priority.
    pub due_at: Timestamp,
    /// Whether its sender was held until now, and everything behind it waits for what becomes of this one.
    pub is_probe: bool,
}

/// How senders are paced and held.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Segments a second.
    pub rates: SenderRates,
    /// How many segments a sender that was idle may hand over at once; three seconds' worth of it if that is more.
    pub burst: u32,
    /// How long a sender stays held while nothing else is known.
    pub hold: Duration,
    /// How long a message without `send_before` may wait from when it was wanted.
    pub max_age: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rates: SenderRates::default(),
            burst: 30,
            hold: Duration::from_secs(300),
            max_age: Duration::from_secs(86_400),
        }
    }
}

/// What a batch of the queue asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Messages, which stand for their senders.
    pub messages: Vec<Uuid>,
    /// Senders with something to do.
    pub wake_ups: Vec<WakeUp>,
    /// When only these may be handed over now.
    pub allowed: Option<Vec<Uuid>>,
}

impl Asked {
    /// Asks for what the senders of these messages have to hand over.
    #[must_use]
    pub fn messages(ids: &[Uuid]) -> Self {
        Self { messages: ids.to_vec(), ..Self::default() }
    }
}

/// What a call claimed, and what else became of the batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// What is to be handed to Twilio, the most urgent of each sender first.
    pub claimed: Vec<Claimed>,
    /// What failed for good: its recipient has opted out, or its time has passed.
    pub refused: Vec<Uuid>,
    /// How many of the batch's messages were handled before.
    pub done: usize,
    /// What is to be put on the queue for senders that have more to do, each after its delay.
    pub wake_ups: Vec<(WakeUp, Duration)>,
}

pub(crate) const CLAIM: &str = "
select kind, message_id, attempt_id, attempt_number, sender, to_number, from_number, messaging_service_sid,
    message_content, media, request_id, send_before, wanted_at, due_at, is_probe, wake_at, wake_in
from sms_claim_sends($1, $2, $3, $4, $5, $6, $7, $8, make_interval(secs => $9), make_interval(secs => $10),
    make_interval(secs => $11), $12)";

/// Claims what is most urgent for the senders of a batch, as much as their pace allows, and refuses what must not be sent
/// any more (`migrations/0007_dispatch.sql` has the rules).
///
/// Attempts are written with the claim, so that a function that dies afterwards leaves its traces.
///
/// # Errors
///
/// [`DbError`]: none was claimed, or, when the connection broke twice, some are held by nobody: the sweep finds those.
pub async fn claim(db: &Db, asked: &Asked, pace: &Pace, now: Timestamp) -> Result<Claims, DbError> {
    let woken: Vec<&str> = asked.wake_ups.iter().map(|wake_up| wake_up.sender.as_str()).collect();
    let woken_at: Vec<Timestamp> = asked.wake_ups.iter().map(|wake_up| wake_up.due_at).collect();
    let attempts: Vec<Uuid> = (0..MAX_CLAIMS).map(|_| crate::clock::new_id()).collect();
    let (patterns, rates): (Vec<&str>, Vec<f64>) = pace.rates.rules().unzip();
    let params = [
        (&asked.messages as _, Type::UUID_ARRAY),
        (&woken as _, Type::TEXT_ARRAY),
        (&woken_at as _, Type::TIMESTAMPTZ_ARRAY),
        (&attempts as _, Type::UUID_ARRAY),
        (&asked.allowed as _, Type::UUID_ARRAY),
        (&patterns as _, Type::TEXT_ARRAY),
        (&rates as _, Type::FLOAT8_ARRAY),
        (&f64::from(pace.burst) as _, Type::FLOAT8),
        (&pace.hold.as_secs_f64() as _, Type::FLOAT8),
        (&pace.max_age.as_secs_f64() as _, Type::FLOAT8),
        (&HORIZON.as_secs_f64() as _, Type::FLOAT8),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    let mut claims = Claims::default();
    for row in &db.query_idempotent("claim messages", CLAIM, &params).await? {
        match row.get(0) {
            "claimed" => claims.claimed.push(claimed(row)),
            "refused" => claims.refused.push(row.get(1)),
            "done" => claims.done += 1,
            _ => {
                let wake_up = WakeUp { sender: row.get(4), due_at: row.get(15) };
                let delay = Duration::try_from_secs_f64(row.get(16)).unwrap_or_default();
                claims.wake_ups.push((wake_up, delay));
            }
        }
    }
    Ok(claims)
}

fn claimed(row: &Row) -> Claimed {
    let message_id = row.get(1);
    let media: Value = row.get(9);
    let urls = media.as_array().into_iter().flatten().filter_map(|item| item["url"].as_str());
    Claimed {
        message_id,
        attempt_id: row.get(2),
        attempt_number: row.get(3),
        sender: row.get(4),
        to: row.get(5),
        from: row.get(6),
        messaging_service_sid: row.get(7),
        message_content: row.get(8),
        media_urls: urls.map(str::to_owned).collect(),
        request_id: row.get::<_, Option<String>>(10).unwrap_or_else(|| message_id.to_string()),
        send_before: row.get(11),
        wanted_at: row.get(12),
        due_at: row.get(13),
        is_probe: row.get(14),
    }
}
