//! What goes wrong on request: faults that were asked for, and recipients that always have one.

use serde::{Deserialize, Serialize};

use super::message::Status;
use super::reserved::reserved;

/// What becomes of a message after it was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) outcome: Outcome,
    pub(super) callbacks: CallbackPlan,
}

/// Where a message ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// On the handset, and reported.
    #[default]
    Delivered,
    /// On the handset, but the carrier never reports it.
    SentOnly,
    /// Lost by the carrier, with this code.
    Undelivered(u32),
    /// Never given to the carrier, with this code.
    Failed(u32),
}

/// How a message's status callbacks are treated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CallbackPlan {
    pub(super) late_ms: u64,
    pub(super) copies: u32,
    pub(super) reordered: bool,
    pub(super) early: bool,
    pub(super) lost: Lost,
}

impl Default for CallbackPlan {
    fn default() -> Self {
        Self { late_ms: 0, copies: 1, reordered: false, early: false, lost: Lost::None }
    }
}

/// Which callbacks are never posted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Lost {
    #[default]
    None,
    All,
    These(Vec<Status>),
}

/// One thing that can go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// The connection is reset as soon as it is made. Matches connections, not requests.
    Refuse {},
    /// The connection is reset when the head of the request has come.
    ResetBeforeRead {},
    /// The connection is reset when the whole request was read.
    ResetAfterRead {
        #[serde(default)]
        accept: bool,
    },
    /// No answer; after `seconds`, if given, the connection is reset.
    Hang {
        #[serde(default)]
        accept: bool,
        seconds: Option<u64>,
    },
    /// 429, code 20429.
    RateLimited { retry_after: Option<u32> },
    /// A 5xx, which says nothing about whether the message goes out.
    ServerError {
        #[serde(default)]
        accept: bool,
        #[serde(default = "internal_server_error")]
        status: u16,
    },
    /// The message goes out, and the 201 breaks off in the middle.
    Truncated {},
    /// The message goes out, and the 201 is not JSON.
    Garbled {},
    /// The message goes out at once, the answer comes late.
    Slow { ms: u64 },
    /// The message goes out, and is answered, only after this time, also when nobody waits for it any more.
    Late { ms: u64 },
    /// Any of Twilio's errors, with its usual status unless another is given.
    Error { code: u32, status: Option<u16> },
    /// Accepted, sent, then `undelivered`.
    Undelivered { code: u32 },
    /// Accepted, then `failed`.
    Failed { code: u32 },
    /// Accepted and sent; no report of delivery.
    SentOnly {},
    /// The callbacks misbehave.
    Callbacks(CallbackFault),
}

fn internal_server_error() -> u16 {
    500
}

/// What is wrong with a message's callbacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallbackFault {
    pub(super) mode: CallbackMode,
    pub(super) delay_ms: Option<u64>,
    pub(super) statuses: Option<Vec<Status>>,
}

impl CallbackFault {
    fn plan(&self) -> CallbackPlan {
        let mut plan = CallbackPlan::default();
        match self.mode {
            CallbackMode::Late => plan.late_ms = self.delay_ms.unwrap_or(10_000),
            CallbackMode::Doubled => plan.copies = 2,
            CallbackMode::Reordered => plan.reordered = true,
            CallbackMode::Early => plan.early = true,
            CallbackMode::Lost => plan.lost = self.statuses.clone().map_or(Lost::All, Lost::These),
        }
        plan
    }
}

/// How callbacks misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallbackMode {
    /// `delay_ms` (10 000) later than they should.
    Late,
    /// Each one twice.
    Doubled,
    /// The last one first.
    Reordered,
    /// Not at all, or not those of `statuses`.
    Lost,
    /// All of them before the create call is answered.
    Early,
}

/// What a request meets: a fault, and, if its callbacks misbehave besides, how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Met {
    #[serde(flatten)]
    pub(super) fault: Fault,
    #[serde(skip_serializing_if = "Option::is_none")]
    callbacks: Option<CallbackFault>,
}

impl Met {
    /// The plan of a message that meets this.
    pub(super) fn plan(&self) -> Plan {
        let mut plan = self.fault.plan();
        if let Some(callbacks) = &self.callbacks {
            plan.callbacks = callbacks.plan();
        }
        plan
    }
}

impl Fault {
    fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        match self {
            Self::Undelivered { code } => plan.outcome = Outcome::Undelivered(*code),
            Self::Failed { code } => plan.outcome = Outcome::Failed(*code),
            Self::SentOnly {} => plan.outcome = Outcome::SentOnly,
            Self::Callbacks(callbacks) => plan.callbacks = callbacks.plan(),
            _ => {}
        }
        plan
    }
}

/// What a request does; a fault names the one it is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    #[default]
    Create,
    Fetch,
    List,
    Update,
    Delete,
    /// In a fault: any of the others.
    Any,
}

/// Which requests meet a fault; what is left out matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Matcher {
    #[serde(default)]
    pub(super) operation: Operation,
    pub(super) to: Option<String>,
    pub(super) from: Option<String>,
    pub(super) body_contains: Option<String>,
}

impl Matcher {
    fn needs_body(&self) -> bool {
        self.to.is_some() || self.from.is_some() || self.body_contains.is_some()
    }

    fn matches(&self, operation: Operation, request: &Facts<'_>) -> bool {
        let same = |wanted: &Option<String>, got: &str| wanted.as_deref().is_none_or(|wanted| wanted == got);
        (self.operation == Operation::Any || self.operation == operation)
            && same(&self.to, request.to)
            && same(&self.from, request.from)
            && self.body_contains.as_deref().is_none_or(|part| request.body.contains(part))
    }
}

/// What of a request a matcher looks at; empty where the request has no such thing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts<'a> {
    pub(super) to: &'a str,
    pub(super) from: &'a str,
    pub(super) body: &'a str,
}

/// A request to arm a fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultRequest {
    #[serde(default, rename = "match")]
    matcher: Matcher,
    /// How many matching requests go through unharmed first.
    #[serde(default)]
    skip: u32,
    /// How many requests meet the fault; 0 means until it is removed.
    #[serde(default = "once")]
    count: u32,
    fault: Fault,
    /// What is wrong with the callbacks of a message that goes out all the same.
    callbacks: Option<CallbackFault>,
}

fn once() -> u32 {
    1
}

/// A fault that waits for its requests.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Armed {
    pub(super) id: u64,
    #[serde(rename = "match")]
    matcher: Matcher,
    skip: u32,
    /// None means until it is removed.
    remaining: Option<u32>,
    hits: u64,
    fault: Fault,
    #[serde(skip_serializing_if = "Option::is_none")]
    callbacks: Option<CallbackFault>,
}

/// All faults, those that are used up too, so that their hits can be read.
#[derive(Debug, Default)]
pub(super) struct Faults {
    armed: Vec<Armed>,
    next_id: u64,
}

impl Faults {
    pub(super) fn arm(&mut self, request: FaultRequest) -> Armed {
        self.next_id += 1;
        let armed = Armed {
            id: self.next_id,
            matcher: request.matcher,
            skip: request.skip,
            remaining: (request.count > 0).then_some(request.count),
            hits: 0,
            fault: request.fault,
            callbacks: request.callbacks,
        };
        self.armed.push(armed.clone());
        armed
    }

    pub(super) fn all(&self) -> &[Armed] {
        &self.armed
    }

    /// Removes one fault, or all; false when there was none of that id.
    pub(super) fn disarm(&mut self, id: Option<u64>) -> bool {
        let before = self.armed.len();
        self.armed.retain(|armed| id.is_some_and(|id| armed.id != id));
        id.is_none() || self.armed.len() < before
    }

    /// Whether this new connection is to be refused.
    pub(super) fn refuses_connection(&mut self) -> bool {
        self.take(|armed| matches!(armed.fault, Fault::Refuse {})).is_some()
    }

    /// Whether this request is to be reset before its body is read.
    pub(super) fn resets_unread(&mut self, operation: Operation) -> bool {
        self.take(|armed| {
            matches!(armed.fault, Fault::ResetBeforeRead {})
                && !armed.matcher.needs_body()
                && armed.matcher.matches(operation, &Facts::default())
        })
        .is_some()
    }

    /// The fault that this request meets: the oldest armed one, else that of its reserved recipient.
    pub(super) fn meet(&mut self, operation: Operation, request: &Facts<'_>) -> Option<Met> {
        self.take(|armed| {
            !matches!(armed.fault, Fault::Refuse {}) && armed.matcher.matches(operation, request)
        })
        .or_else(|| {
            let fault = if operation == Operation::Create { reserved(request.to) } else { None };
            fault.map(|fault| Met { fault, callbacks: None })
        })
    }

    fn take(&mut self, wanted: impl Fn(&Armed) -> bool) -> Option<Met> {
        for armed in &mut self.armed {
            if armed.remaining == Some(0) || !wanted(armed) {
                continue;
            }
            if armed.skip > 0 {
                armed.skip -= 1;
                continue;
            }
            armed.hits += 1;
            armed.remaining = armed.remaining.map(|left| left - 1);
            return Some(Met { fault: armed.fault.clone(), callbacks: armed.callbacks.clone() });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(faults: &mut Faults, json: &str) -> u64 {
        faults.arm(serde_json::from_str(json).unwrap()).id
    }

    #[test]
    fn a_fault_skips_then_hits_its_count_then_is_spent() {
        let mut faults = Faults::default();
        arm(&mut faults, r#"{"match":{"to":"+1"},"skip":1,"count":2,"fault":{"kind":"truncated"}}"#);
        let to = |to| Facts { to, ..Facts::default() };
        let mut meet = |number| faults.meet(Operation::Create, &to(number)).is_some();
        assert_eq!(
            [meet("+2"), meet("+1"), meet("+1"), meet("+1"), meet("+1")],
            [false, false, true, true, false]
        );
        assert!(faults.meet(Operation::List, &to("+1")).is_none());
        assert_eq!(faults.all()[0].hits, 2);
    }

    #[test]
    fn a_fault_without_end_lasts_until_it_is_removed() {
        let mut faults = Faults::default();
        let id = arm(&mut faults, r#"{"match":{"operation":"any"},"count":0,"fault":{"kind":"garbled"}}"#);
        assert!((0..9).all(|_| faults.meet(Operation::List, &Facts::default()).is_some()));
        assert!(faults.disarm(Some(id)));
        assert!(!faults.disarm(Some(id)));
        assert!(faults.meet(Operation::List, &Facts::default()).is_none());
    }
}
