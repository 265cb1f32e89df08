//! Claims: committed before a call to Twilio, so that no other function makes it.

use crate::db::senders::WakeUp;
use crate::db::{Db, DbError, Row, Type};
use crate::domain::pace::SenderRates;
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// The maximum number of messages per claim. Each is a concurrent call to Twilio, and an account has about a hundred of
/// these for all functions.
const MAX_CLAIMS: usize = 20;

/// How far ahead a sender's next message gets its wake-up: more than the interval of `retry-sends`, which finds the
/// rest.
pub(in crate::db) const HORIZON: Duration = Duration::from_secs(90);

/// A claimed message.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The message.
    pub message_id: Uuid,
    /// The attempt created with the claim.
    pub attempt_id: Uuid,
    /// The number of attempts, including this one.
    pub attempt_number: i32,
    /// The sender for pace and holds: the number or the messaging service.
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
    /// The id of the request.
    pub request_id: String,
    /// The latest time to send.
    pub send_before: Option<Timestamp>,
    /// Its first due time: `send_at`, or the time of the request.
    pub wanted_at: Timestamp,
    /// When it became due, which defines its order.
    pub due_at: Timestamp,
    /// Whether it is the probe of a held sender.
    pub is_probe: bool,
}

/// The pace of senders, and their holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Segments per second.
    pub rates: SenderRates,
    /// The burst in segments after a pause, at least three seconds' worth.
    pub burst: u32,
    /// The default length of a hold.
    pub hold: Duration,
    /// The maximum age of a message without `send_before`.
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

/// The wake-ups of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Messages, whose senders are woken.
    pub messages: Vec<Uuid>,
    /// Senders.
    pub wake_ups: Vec<WakeUp>,
    /// If set, only these messages may be claimed.
    pub allowed: Option<Vec<Uuid>>,
}

impl Asked {
    /// Returns the wake-ups of the senders of these messages.
    #[must_use]
    pub fn messages(ids: &[Uuid]) -> Self {
        Self { messages: ids.to_vec(), ..Self::default() }
    }
}

/// The result of a claim.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// The claimed messages, the most urgent of each sender first.
    pub claimed: Vec<Claimed>,
    /// Messages that failed permanently: opted out or expired.
    pub refused: Vec<Uuid>,
    /// The number of the batch's messages that were processed before.
    pub done: usize,
    /// Wake-ups to queue, with their delays.
    pub wake_ups: Vec<(WakeUp, Duration)>,
}

pub(crate) const CLAIM: &str = "
select kind, message_id, attempt_id, attempt_number, sender, to_number, from_number, messaging_service_sid,
    message_content, media, request_id, send_before, wanted_at, due_at, is_probe, wake_at, wake_in
from sms_claim_sends($1, $2, $3, $4, $5, $6, $7, $8, make_interval(secs => $9), make_interval(secs => $10),
    make_interval(secs => $11), $12)";

/// Claims the most urgent messages of the senders, within their pace, and fails those that must not be sent any more
/// (rules: `migrations/functions/sms_claim_sends.sql`).
///
/// Attempts are stored with the claim, so that a crash is visible afterwards.
///
/// # Errors
///
/// [`DbError`]: none was claimed, or, if the connection failed twice, some claims have no owner; `retry-sends` ends
/// those.
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
