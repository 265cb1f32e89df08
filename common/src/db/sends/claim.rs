//! Claims: committed before a call to Twilio, so that no other function makes it.

use crate::db::senders::WakeUp;
use crate::db::types::text_enums;
use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::{AttemptId, MessageId};
use crate::domain::named::named_enum;
use crate::domain::pace::{HoldReason, SenderPace, SenderRates, probe_hold};
use crate::domain::phone::E164;
use crate::domain::sender::Sender;
use jiff::Timestamp;
use std::time::Duration;

/// The maximum number of messages per claim. Each is a concurrent call to Twilio, and an account has about a hundred of
/// these for all functions.
const MAX_CLAIMS: usize = 20;

/// How far ahead a sender's next message gets its wake-up: more than the interval of `retry-sends`, which finds the
/// rest.
pub(in crate::db) const HORIZON: Duration = Duration::from_secs(90);

row! {
    /// A claimed message.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Claimed {
        /// The attempt created with the claim.
        pub attempt_id: AttemptId,
        /// The message.
        pub message_id: MessageId,
        /// The number of attempts, including this one.
        pub attempt_number: i32,
        /// The sender, which has a pace and holds.
        pub sender: Sender,
        /// The recipient.
        pub to: E164 = "to_number",
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
}

/// The pace of senders, and their holds.
#[derive(Debug, Clone, PartialEq)]
pub struct SendPace {
    /// Segments per second.
    pub rates: SenderRates,
    /// The burst in segments after a pause, at least three seconds' worth.
    pub burst: u32,
    /// The default length of a hold.
    pub hold: Duration,
    /// The maximum age of a message without `send_before`.
    pub max_age: Duration,
}

impl Default for SendPace {
    fn default() -> Self {
        Self {
            rates: SenderRates::default(),
            burst: 30,
            hold: Duration::from_secs(300),
            max_age: Duration::from_secs(86_400),
        }
    }
}

/// The messages and senders to process: the wake-ups of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Messages, whose senders are woken.
    pub messages: Vec<MessageId>,
    /// Senders.
    pub wake_ups: Vec<WakeUp>,
    /// If set, only these messages may be claimed.
    pub allowed: Option<Vec<MessageId>>,
}

impl ClaimRequest {
    /// Returns the wake-ups of the senders of these messages.
    #[must_use]
    pub fn messages(ids: &[MessageId]) -> Self {
        Self { messages: ids.to_vec(), ..Self::default() }
    }
}

/// The result of a claim.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// The claimed messages, the most urgent of each sender first.
    pub claimed: Vec<Claimed>,
    /// Messages that failed permanently: opted out or expired.
    pub refused: Vec<MessageId>,
    /// The number of the batch's messages that were processed before.
    pub done: usize,
    /// Wake-ups to queue, with their delays.
    pub wake_ups: Vec<(WakeUp, Duration)>,
}

named_enum! {
    /// The kind of a row.
    enum Kind: "a kind of row" {
        /// A claimed message.
        Claimed = "claimed",
        /// A message that failed permanently.
        Refused = "refused",
        /// A message that was processed before.
        Done = "done",
        /// A wake-up to queue.
        Wake = "wake",
    }
}

text_enums!(Kind);

row! {
    struct Found {
        kind: Kind,
        message_id: Option<MessageId>,
        sender: Option<Sender>,
        wake_at: Option<Timestamp>,
        wake_in: Option<f64>,
    }
}

const CLAIM: Statement<(Found, Option<Claimed>)> = Statement::new(
    "claim messages",
    "
select kind, message_id, attempt_id, attempt_number, sender, to_number, message_content,
    array(select item ->> 'url' from jsonb_array_elements(media) item where item ->> 'url' is not null) as media_urls,
    coalesce(request_id, message_id::text) as request_id, send_before, wanted_at, due_at, is_probe, wake_at, wake_in
from sms_claim_sends(named => $messages, woken => $woken, woken_at => $woken_at, attempt_ids => $attempt_ids,
    allowed => $allowed, patterns => $patterns, rates => $rates, bursts => $bursts,
    bulk_bursts => $bulk_bursts, probe_hold => make_interval(secs => $probe_hold_seconds),
    repair_hold => make_interval(secs => $repair_hold_seconds), max_age => make_interval(secs => $max_age_seconds),
    horizon => make_interval(secs => $horizon_seconds), now_at => $now)",
);

/// Claims the most urgent messages of the senders, within their pace, and fails those that must not be sent any more
/// (rules: `migrations/functions/sms_claim_sends.sql`).
///
/// Attempts are stored with the claim, so that a crash is visible afterwards.
///
/// # Errors
///
/// [`DbError`]: none was claimed, or, if the connection failed twice, some claims have no owner; `retry-sends` ends
/// those.
pub async fn claim(
    db: &Db,
    request: &ClaimRequest,
    pace: &SendPace,
    now: Timestamp,
) -> Result<Claims, DbError> {
    let attempt_ids: Vec<AttemptId> = (0..MAX_CLAIMS).map(|_| crate::clock::new_id().into()).collect();
    let rules: Vec<SenderPace<'_>> = pace.rates.rules(pace.burst).collect();
    let params = params! {
        messages: request.messages,
        woken: request.wake_ups.iter().map(|wake_up| &wake_up.sender).collect::<Vec<_>>(),
        woken_at: request.wake_ups.iter().map(|wake_up| wake_up.due_at).collect::<Vec<_>>(),
        attempt_ids,
        allowed: request.allowed,
        patterns: rules.iter().map(|rule| rule.pattern).collect::<Vec<_>>(),
        rates: rules.iter().map(|rule| rule.rate).collect::<Vec<_>>(),
        bursts: rules.iter().map(|rule| rule.burst).collect::<Vec<_>>(),
        bulk_bursts: rules.iter().map(|rule| rule.bulk_burst).collect::<Vec<_>>(),
        probe_hold_seconds: probe_hold(HoldReason::Limited, pace.hold).as_secs_f64(),
        repair_hold_seconds: probe_hold(HoldReason::Configuration, pace.hold).as_secs_f64(),
        max_age_seconds: pace.max_age.as_secs_f64(),
        horizon_seconds: HORIZON.as_secs_f64(),
        now,
    };
    let mut claims = Claims::default();
    for (found, claimed) in db.query_idempotent(&CLAIM, &params).await? {
        match found.kind {
            Kind::Claimed => claims.claimed.extend(claimed),
            Kind::Refused => claims.refused.extend(found.message_id),
            Kind::Done => claims.done += 1,
            Kind::Wake => claims.wake_ups.extend(found.wake_up()),
        }
    }
    Ok(claims)
}

impl Found {
    fn wake_up(self) -> Option<(WakeUp, Duration)> {
        let wake_up = WakeUp { sender: self.sender?, due_at: self.wake_at? };
        Some((wake_up, Duration::try_from_secs_f64(self.wake_in?).unwrap_or_default()))
    }
}

statements!(CLAIM);
