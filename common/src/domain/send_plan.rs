//! Plans which waiting messages of a sender are sent now, within its pace, and when the next ones can be.
//!
//! The pace is the generic cell rate algorithm. `ready_at` is when everything sent so far will have left at the
//! sender's rate. The segments until then are the backlog, which may grow to the burst. MMS have their own, if they
//! have a rate of their own. What was sent in a day is counted, too, and messages beyond the daily limit wait for its
//! end.

use super::ids::MessageId;
use super::message::Priority;
use super::named::named_enum;
use super::pace::{HoldReason, Pace, SenderPace, probe_hold};
use jiff::Timestamp;
use std::time::Duration;

/// A sender, locked while its messages are planned.
#[derive(Debug, Clone, PartialEq)]
pub struct SenderState {
    /// When everything sent so far will have left.
    pub ready_at: Option<Timestamp>,
    /// The same of MMS, if they have a rate of their own.
    pub mms_ready_at: Option<Timestamp>,
    /// What was sent in the day.
    pub day: Day,
    /// Nothing is sent before. After it, one message is sent as a probe.
    pub held_until: Option<Timestamp>,
    /// The reason of the hold.
    pub held_reason: Option<HoldReason>,
    /// When the wake-up in the queue is due, if there is one besides those of this batch.
    pub wake_at: Option<Timestamp>,
}

/// What was sent in a day, which ends at midnight in Pacific Time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Day {
    /// The end of the day. After it, the next one has begun.
    pub ends_at: Option<Timestamp>,
    /// How many segments and MMS were claimed for a call to Twilio.
    pub sent: i32,
    /// The end of the day, if a message waits for it.
    pub full_until: Option<Timestamp>,
}

/// A waiting message.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The message.
    pub message_id: MessageId,
    /// Its priority.
    pub priority: Priority,
    /// Its length.
    pub segments: i32,
    /// Whether it has media.
    pub is_mms: bool,
    /// When it is due.
    pub due_at: Timestamp,
    /// Whether it is locked for this plan. Another one is not due, not allowed, or being changed by another function.
    pub is_locked: bool,
    /// Whether its recipient has opted out.
    pub opted_out: bool,
    /// The latest time to send.
    pub expires_at: Timestamp,
}

named_enum! {
    /// Why a message fails instead of being sent: its error code.
    pub enum Refusal: "a reason of a refusal" {
        /// The recipient has opted out.
        OptedOut = "opted_out",
        /// It has expired.
        Expired = "retries_exhausted",
    }
}

/// The limits of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The maximum number of messages.
    pub messages: usize,
    /// The default length of a hold.
    pub hold: Duration,
    /// Later wake-ups are left to a schedule.
    pub horizon: Duration,
    /// The end of the current day.
    pub day_ends_at: Timestamp,
}

/// What to do with the messages of a sender.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Messages to send, the most urgent first.
    pub taken: Vec<MessageId>,
    /// Messages that must not be sent any more.
    pub refused: Vec<(MessageId, Refusal)>,
    /// The new state of the sender.
    pub sender: SenderState,
    /// Whether messages begin to wait for the next day.
    pub day_filled: bool,
    /// The delay of a new wake-up to queue, which is due at `sender.wake_at`.
    pub wake_in: Option<Duration>,
}

/// Plans the messages of a sender. `waiting` has the first messages of each priority, the longest due first.
///
/// - More urgent messages go first. Bulk messages leave a part of the burst to them.
/// - A message that is longer than the burst goes if the backlog is empty, and one longer than the daily limit if
///   nothing was sent in the day.
/// - SMS and MMS with rates of their own do not wait for each other. All wait for the next day.
/// - After refusals, lower priorities are left to the next wake-up: `waiting` may lack more urgent messages.
#[must_use]
pub fn plan(
    state: &SenderState,
    pace: &SenderPace,
    waiting: &[Waiting],
    limits: &Limits,
    now: Timestamp,
) -> Plan {
    let mut room = match state.held_until {
        Some(until) if until > now => 0,
        Some(_) => limits.messages.min(1),
        None => limits.messages,
    };
    let mut lanes = Lanes {
        sms: Lane::new(pace.segments, state.ready_at, now),
        mms: pace.mms.map(|pace| Lane::new(pace, state.mms_ready_at, now)),
    };
    let mut day = state.day.at(now, limits.day_ends_at);
    let (mut taken, mut refused) = (Vec::new(), Vec::new());

    'priorities: for priority in Priority::ALL {
        for message in waiting.iter().filter(|message| message.priority == priority && message.is_locked) {
            let (lane, length) = lanes.of(message);
            if room == 0 {
                break 'priorities;
            }
            lane.is_blocked |= !lane.fits(priority, 1.0);
            if lane.is_blocked {
                continue;
            }
            if let Some(refusal) = message.refusal(now) {
                refused.push((message.message_id, refusal));
                continue;
            }
            lane.is_blocked = !lane.fits(priority, length);
            if lane.is_blocked {
                continue;
            }
            if !day.add(message, pace.per_day) {
                break 'priorities;
            }
            lane.add(length);
            taken.push(message.message_id);
            room -= 1;
        }
        if !refused.is_empty() {
            break;
        }
    }

    let held_until = match (state.held_until, state.held_reason) {
        (Some(_), reason) if !taken.is_empty() => {
            Some(now + probe_hold(reason.unwrap_or(HoldReason::Limited), limits.hold))
        }
        (until, _) => until,
    };
    let remaining: Vec<&Waiting> = waiting
        .iter()
        .filter(|m| !taken.contains(&m.message_id) && refused.iter().all(|(id, _)| *id != m.message_id))
        .collect();
    let is_idle = taken.is_empty() && refused.is_empty();
    let blocked_until = held_until.max(day.full_until);
    let next_at = lanes.next_at(&remaining, now).map(|paced_at| {
        let at = paced_at.max(blocked_until.unwrap_or(now));
        // Another function is changing the due message: not at once again.
        if at <= now && is_idle { now + SECOND } else { at.max(now) }
    });
    let mut sender = SenderState {
        ready_at: Some(lanes.sms.ready_at),
        mms_ready_at: lanes.mms.map_or(state.mms_ready_at, |mms| Some(mms.ready_at)),
        day,
        held_until,
        ..state.clone()
    };
    let wake_in = next_at.and_then(|at| sender.wake(at, limits.horizon, now));
    let day_filled = day.full_until.is_some() && day.full_until != state.day.full_until;
    Plan { taken, refused, sender, day_filled, wake_in }
}

/// What is sent at one rate.
#[derive(Debug, Clone, Copy)]
struct Lane {
    pace: Pace,
    ready_at: Timestamp,
    backlog: f64,
    /// Whether a message did not fit. No other one of the lane may overtake it.
    is_blocked: bool,
}

impl Lane {
    fn new(pace: Pace, ready_at: Option<Timestamp>, now: Timestamp) -> Self {
        let ready_at = ready_at.unwrap_or(now).max(now);
        Self { pace, ready_at, backlog: seconds(now, ready_at) * pace.rate, is_blocked: false }
    }

    fn fits(&self, priority: Priority, length: f64) -> bool {
        self.backlog <= 0.0 || self.backlog + length <= self.pace.allowance(priority)
    }

    fn add(&mut self, length: f64) {
        self.backlog += length;
        self.ready_at += duration(length / self.pace.rate);
    }

    /// Returns when a message fits.
    fn fits_at(&self, priority: Priority, length: f64, now: Timestamp) -> Timestamp {
        let excess = self.backlog + length - self.pace.allowance(priority);
        now + duration(excess.max(0.0).min(self.backlog) / self.pace.rate)
    }
}

/// The lanes of a sender. MMS without a rate of their own are sent at that of SMS.
struct Lanes {
    sms: Lane,
    mms: Option<Lane>,
}

impl Lanes {
    /// Returns the lane of a message and its length there: one if it is for MMS, otherwise its segments.
    fn of(&mut self, message: &Waiting) -> (&mut Lane, f64) {
        match &mut self.mms {
            Some(mms) if message.is_mms => (mms, 1.0),
            _ => (&mut self.sms, f64::from(message.segments)),
        }
    }

    /// Returns when the next of these messages can be sent: the first of one lane or the other.
    fn next_at(&mut self, remaining: &[&Waiting], now: Timestamp) -> Option<Timestamp> {
        let has_mms = self.mms.is_some();
        let firsts = [false, true].map(|of_mms| {
            let in_lane = remaining.iter().filter(|message| (has_mms && message.is_mms) == of_mms);
            in_lane.min_by_key(|message| (message.due_at.max(now), message.priority))
        });
        let at = |message: &&Waiting| {
            let (lane, length) = self.of(message);
            lane.fits_at(message.priority, length, now).max(message.due_at)
        };
        firsts.into_iter().flatten().map(at).min()
    }
}

impl Day {
    /// Returns the day at a time: this one, or the next one, in which nothing was sent. A function whose clock is late
    /// continues with the next day.
    fn at(self, now: Timestamp, next_ends_at: Timestamp) -> Self {
        match self.ends_at {
            Some(ends_at) if ends_at > now => Self { full_until: None, ..self },
            _ => Self { ends_at: Some(next_ends_at), sent: 0, full_until: None },
        }
    }

    /// Counts a message, or marks the day as full if the message exceeds the limit. An MMS counts as one segment.
    fn add(&mut self, message: &Waiting, limit: Option<u32>) -> bool {
        let sent = self.sent.saturating_add(if message.is_mms { 1 } else { message.segments });
        let exceeds = limit.is_some_and(|limit| i64::from(sent) > i64::from(limit)) && self.sent > 0;
        if exceeds {
            self.full_until = self.ends_at;
        } else {
            self.sent = sent;
        }
        !exceeds
    }
}

/// Wake-ups have a resolution of one second.
const SECOND: Duration = Duration::from_secs(1);

impl SenderState {
    /// Sets the wake-up if it is earlier than the one in the queue. Returns its delay.
    fn wake(&mut self, at: Timestamp, horizon: Duration, now: Timestamp) -> Option<Duration> {
        // A wake-up that is due at once counts as queued for a second.
        let due_at = at.max(now + SECOND);
        let is_new = due_at <= now + horizon && self.wake_at.is_none_or(|queued| queued > due_at);
        is_new.then(|| {
            self.wake_at = Some(due_at);
            duration(seconds(now, at))
        })
    }
}

impl Waiting {
    fn refusal(&self, now: Timestamp) -> Option<Refusal> {
        match self.opted_out {
            true => Some(Refusal::OptedOut),
            false => (self.expires_at <= now).then_some(Refusal::Expired),
        }
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    from.duration_until(to).as_secs_f64()
}

/// Converts to whole microseconds, the precision of Postgres.
fn duration(seconds: f64) -> Duration {
    Duration::from_micros((seconds.max(0.0) * 1e6).round() as u64)
}

#[cfg(test)]
mod tests;
