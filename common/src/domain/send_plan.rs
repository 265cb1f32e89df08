//! Plans which waiting messages of a sender are sent now, within its pace, and when the next ones can be.
//!
//! The pace is the generic cell rate algorithm. `ready_at` is when everything sent so far will have left at the
//! sender's rate. The segments until then are the backlog, which may grow to the burst.

use super::ids::MessageId;
use super::message::Priority;
use super::named::named_enum;
use super::pace::{HoldReason, SenderPace, probe_hold};
use jiff::Timestamp;
use std::time::Duration;

/// A sender, locked while its messages are planned.
#[derive(Debug, Clone, PartialEq)]
pub struct SenderState {
    /// When everything sent so far will have left.
    pub ready_at: Option<Timestamp>,
    /// Nothing is sent before. After it, one message is sent as a probe.
    pub held_until: Option<Timestamp>,
    /// The reason of the hold.
    pub held_reason: Option<HoldReason>,
    /// When the wake-up in the queue is due, if there is one besides those of this batch.
    pub wake_at: Option<Timestamp>,
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
    /// The delay of a new wake-up to queue, which is due at `sender.wake_at`.
    pub wake_in: Option<Duration>,
}

/// Plans the messages of a sender. `waiting` has the first messages of each priority, the longest due first.
///
/// - More urgent messages go first. Bulk messages leave a part of the burst to them.
/// - A message that is longer than the burst goes if the backlog is empty.
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
    let mut ready_at = state.ready_at.unwrap_or(now).max(now);
    let mut backlog = seconds(now, ready_at) * pace.rate;
    let (mut taken, mut refused) = (Vec::new(), Vec::new());

    'priorities: for priority in Priority::ALL {
        let allowance = pace.allowance(priority);
        let fits = |backlog: f64, segments: f64| backlog <= 0.0 || backlog + segments <= allowance;
        for message in waiting.iter().filter(|message| message.priority == priority && message.is_locked) {
            let segments = f64::from(message.segments);
            if room == 0 || !fits(backlog, 1.0) {
                break 'priorities;
            }
            if let Some(refusal) = message.refusal(now) {
                refused.push((message.message_id, refusal));
                continue;
            }
            if !fits(backlog, segments) {
                break 'priorities;
            }
            taken.push(message.message_id);
            backlog += segments;
            ready_at += duration(segments / pace.rate);
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
    let remaining = waiting
        .iter()
        .filter(|m| !taken.contains(&m.message_id) && refused.iter().all(|(id, _)| *id != m.message_id));
    let next = remaining.min_by_key(|message| (message.due_at.max(now), message.priority));
    let is_idle = taken.is_empty() && refused.is_empty();
    let next_at = next.map(|next| {
        let excess = backlog + f64::from(next.segments) - pace.allowance(next.priority);
        let paced_at = now + duration(excess.max(0.0).min(backlog) / pace.rate);
        let at = paced_at.max(next.due_at).max(held_until.unwrap_or(now));
        // Another function is changing the due message: not at once again.
        if at <= now && is_idle { now + SECOND } else { at.max(now) }
    });
    let mut sender = SenderState { ready_at: Some(ready_at), held_until, ..state.clone() };
    let wake_in = next_at.and_then(|at| sender.wake(at, limits.horizon, now));
    Plan { taken, refused, sender, wake_in }
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
