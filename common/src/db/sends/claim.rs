//! Claims: committed before a call to Twilio, so that no other function makes it.

use crate::db::senders::WakeUp;
use crate::db::types::text_enums;
use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::{AttemptId, MessageId};
use crate::domain::message::Priority;
use crate::domain::named::named_enum;
use crate::domain::pace::{HoldReason, SenderLimits, day_end};
use crate::domain::phone::E164;
use crate::domain::send_plan::{Day, Limits, Plan, Refusal, SenderState, Waiting, plan};
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
        /// The trace that the send continues.
        pub trace_context: Option<String>,
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
    /// Segments and MMS per second and per day.
    pub limits: SenderLimits,
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
            limits: SenderLimits::default(),
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
    /// Senders whose messages begin to wait for the next day, and when it begins.
    pub filled: Vec<(Sender, Timestamp)>,
}

named_enum! {
    /// The kind of a row.
    enum Kind: "a kind of row" {
        /// An earlier call stored claims with these attempt ids.
        Repeated = "repeated",
        /// A message that was processed before.
        Done = "done",
        /// A locked sender. Its messages follow.
        Sender = "sender",
        /// A waiting message of the sender.
        Waiting = "waiting",
    }
}

text_enums!(Kind, Refusal);

row! {
    struct Found {
        kind: Kind,
        sender: Option<Sender>,
        ready_at: Option<Timestamp>,
        mms_ready_at: Option<Timestamp>,
        day_ends_at: Option<Timestamp>,
        day_sent: Option<i32>,
        day_full_until: Option<Timestamp>,
        held_until: Option<Timestamp>,
        held_reason: Option<HoldReason>,
        wake_at: Option<Timestamp>,
    }
}

row! {
    struct FoundMessage {
        message_id: MessageId,
        priority: Option<Priority>,
        segments: Option<i32>,
        is_mms: Option<bool>,
        due_at: Option<Timestamp>,
        is_locked: Option<bool>,
        opted_out: Option<bool>,
        send_before: Option<Timestamp>,
        wanted_at: Option<Timestamp>,
    }
}

const LOCK: Statement<(Found, Option<FoundMessage>)> = Statement::new(
    "lock senders",
    "
select kind, sender, ready_at, mms_ready_at, day_ends_at, day_sent, day_full_until, held_until, held_reason, wake_at,
    message_id, priority, segments, is_mms, due_at, is_locked, opted_out, send_before, wanted_at
from sms_lock_senders_2(named => $messages, woken => $woken, attempt_ids => $attempt_ids, allowed => $allowed,
    max_number => $max_claims, now_at => $now)",
);

const STORE: Statement<Claimed> = Statement::new(
    "claim messages",
    "
select message_id, attempt_id, attempt_number, sender, to_number, message_content,
    array(select item ->> 'url' from jsonb_array_elements(media) item where item ->> 'url' is not null) as media_urls,
    coalesce(request_id, message_id::text) as request_id,
    (select m.trace_context from sms_messages m where m.id = message_id) as trace_context, send_before, wanted_at,
    due_at, is_probe
from sms_store_claims_2(refused => $refused, refusals => $refusals, taken => $taken, attempt_ids => $attempt_ids,
    senders => $senders, ready_ats => $ready_ats, mms_ready_ats => $mms_ready_ats, day_ends_ats => $day_ends_ats,
    days_sent => $days_sent, day_full_untils => $day_full_untils, held_untils => $held_untils,
    wake_ats => $wake_ats, now_at => $now, status_event => $status_event, failed_event => $failed_event)",
);

/// Claims the most urgent messages of the senders, within their pace, and fails those that must not be sent any more.
///
/// Two round trips in one transaction: the senders are locked and their messages read, [`plan`] decides, and the
/// decision is stored. Attempts are stored with the claim, so that a crash is visible afterwards.
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
    match claim_once(db, request, pace, &attempt_ids, now).await {
        // The attempt ids show whether the first call was committed.
        Err(error) if error.is_connection_lost() || error.is_deadlock() => {
            claim_once(db, request, pace, &attempt_ids, now).await
        }
        outcome => outcome,
    }
}

async fn claim_once(
    db: &Db,
    request: &ClaimRequest,
    pace: &SendPace,
    attempt_ids: &[AttemptId],
    now: Timestamp,
) -> Result<Claims, DbError> {
    let params = params! {
        messages: request.messages,
        woken: request.wake_ups.iter().map(|wake_up| &wake_up.sender).collect::<Vec<_>>(),
        attempt_ids,
        allowed: request.allowed,
        max_claims: MAX_CLAIMS as i32,
        now,
    };
    let (rows, held) = db.query_held(&LOCK, &params).await?;
    let done = rows.iter().filter(|(found, _)| found.kind == Kind::Done).count();
    let planned = plan_senders(rows, request, pace, now);
    let plans = || planned.iter().map(|(_, plan)| plan);
    let refused: Vec<(MessageId, Refusal)> = plans().flat_map(|plan| plan.refused.iter().copied()).collect();
    let params = params! {
        refused: refused.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        refusals: refused.iter().map(|(_, refusal)| *refusal).collect::<Vec<_>>(),
        taken: plans().flat_map(|plan| plan.taken.iter().copied()).collect::<Vec<_>>(),
        attempt_ids,
        senders: planned.iter().map(|(sender, _)| sender).collect::<Vec<_>>(),
        ready_ats: plans().map(|plan| plan.sender.ready_at).collect::<Vec<_>>(),
        mms_ready_ats: plans().map(|plan| plan.sender.mms_ready_at).collect::<Vec<_>>(),
        day_ends_ats: plans().map(|plan| plan.sender.day.ends_at).collect::<Vec<_>>(),
        days_sent: plans().map(|plan| plan.sender.day.sent).collect::<Vec<_>>(),
        day_full_untils: plans().map(|plan| plan.sender.day.full_until).collect::<Vec<_>>(),
        held_untils: plans().map(|plan| plan.sender.held_until).collect::<Vec<_>>(),
        wake_ats: plans().map(|plan| plan.sender.wake_at).collect::<Vec<_>>(),
        now,
        status_event: EventType::MessageStatus,
        failed_event: EventType::MessageFailed,
    };
    let claimed = held.query_and_commit(db, &STORE, &params).await?;
    let filled = planned.iter().filter(|(_, plan)| plan.day_filled);
    let filled = filled.filter_map(|(sender, plan)| Some((sender.clone(), plan.sender.day.full_until?)));
    let filled = filled.collect();
    let wake_up = |(sender, plan): (Sender, Plan)| {
        Some((WakeUp { sender, due_at: plan.sender.wake_at? }, plan.wake_in?))
    };
    Ok(Claims {
        claimed,
        refused: refused.into_iter().map(|(id, _)| id).collect(),
        done,
        wake_ups: planned.into_iter().filter_map(wake_up).collect(),
        filled,
    })
}

/// Plans the messages of each locked sender.
fn plan_senders(
    rows: Vec<(Found, Option<FoundMessage>)>,
    request: &ClaimRequest,
    pace: &SendPace,
    now: Timestamp,
) -> Vec<(Sender, Plan)> {
    let mut found: Vec<(Sender, SenderState, Vec<Waiting>)> = Vec::new();
    for (row, message) in rows {
        match row.kind {
            Kind::Sender => {
                found.extend(row.sender_state(request, now).map(|(name, state)| (name, state, Vec::new())))
            }
            Kind::Waiting => {
                if let (Some((_, _, waiting)), Some(message)) = (found.last_mut(), message) {
                    waiting.push(message.waiting(pace.max_age));
                }
            }
            Kind::Repeated | Kind::Done => {}
        }
    }
    let share = (MAX_CLAIMS / found.len().max(1)).max(1);
    let mut unused = MAX_CLAIMS;
    let day_ends_at = day_end(now);
    let plan_one = |(sender, state, waiting): (Sender, SenderState, Vec<Waiting>)| {
        let messages = share.min(unused);
        let limits = Limits { messages, hold: pace.hold, horizon: HORIZON, day_ends_at };
        let pace = pace.limits.pace_of(&sender, pace.burst);
        let plan = plan(&state, &pace, &waiting, &limits, now);
        unused -= plan.taken.len();
        (sender, plan)
    };
    found.into_iter().map(plan_one).collect()
}

impl Found {
    fn sender_state(self, request: &ClaimRequest, now: Timestamp) -> Option<(Sender, SenderState)> {
        let Self { sender, ready_at, mms_ready_at, held_until, held_reason, wake_at, .. } = self;
        let sender = sender?;
        let day = Day {
            ends_at: self.day_ends_at,
            sent: self.day_sent.unwrap_or_default(),
            full_until: self.day_full_until,
        };
        // A wake-up of this batch, or one whose time has passed, is not in the queue any more.
        let is_queued = |at: &Timestamp| {
            *at > now && request.wake_ups.iter().all(|woken| woken.sender != sender || woken.due_at != *at)
        };
        let wake_at = wake_at.filter(is_queued);
        Some((sender, SenderState { ready_at, mms_ready_at, day, held_until, held_reason, wake_at }))
    }
}

impl FoundMessage {
    fn waiting(self, max_age: Duration) -> Waiting {
        let wanted_at = self.wanted_at.unwrap_or_default();
        Waiting {
            message_id: self.message_id,
            priority: self.priority.unwrap_or_default(),
            segments: self.segments.unwrap_or(1),
            is_mms: self.is_mms.unwrap_or_default(),
            due_at: self.due_at.unwrap_or(wanted_at),
            is_locked: self.is_locked.unwrap_or_default(),
            opted_out: self.opted_out.unwrap_or_default(),
            expires_at: self.send_before.unwrap_or(wanted_at + max_age),
        }
    }
}

statements!(LOCK, STORE);
